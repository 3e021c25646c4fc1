"""The directories of the embedded services.

    home/postgres            the database; as root under a directory that Postgres' user cannot pass, a link
                             to a place under /var/lib/seatline that it can
    home/valkey              Valkey's working directory
    home/log                 logs of the servers
    home/run                 the lock, the sockets and services.json, which says what runs

The path of a socket must be under 108 bytes and, since it is part of URLs and server options, of plain characters. If
it would not be, the socket is in a private directory under /tmp, which is noted in ``run/temporary.json``.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path

from cluster.embedded.accounts import ServiceAccount, choose_account
from cluster.embedded.errors import ServiceStartError

_SOCKET_PATH_MAX = 107
_PLAIN = re.compile(r"[A-Za-z0-9/._+-]+")
_LASTING = Path("/var/lib/seatline")
_PREFIX = "seatline-"


@dataclass(frozen=True)
class Layout:
    """The paths of one home. All directories exist."""

    home: Path
    account: ServiceAccount | None
    """The user that runs Postgres; None: the present user."""
    ground: Path
    """The directory with the files of Postgres: the home, or a substitute for it."""
    postgres_data: Path
    postgres_sockets: Path
    valkey_data: Path
    valkey_socket: Path

    def log(self, service: str) -> Path:
        return self.home / "log" / f"{service}.log"


def run_directory(home: Path) -> Path:
    """Make ``home/run`` and return it."""
    passable = 0o711 if os.geteuid() == 0 else 0o700
    for directory in (home, home / "run"):
        if not directory.exists():
            directory.mkdir(parents=True)
            directory.chmod(passable)
    return home / "run"


def prepare_layout(home: Path) -> Layout:
    """Make the directories of ``home``. Permissions of existing ones are not changed."""
    run = run_directory(home)
    remove_temporary(home)
    (home / "log").mkdir(mode=0o700, exist_ok=True)
    (home / "valkey").mkdir(mode=0o700, exist_ok=True)

    link = home / "postgres"
    data = link.resolve()
    if link.is_symlink() and not data.parent.is_dir():
        raise ServiceStartError(f"the database of {home} should be in {data}, whose directory is gone")
    account = choose_account(data)
    if account is not None and not link.is_symlink() and not link.exists():
        data = _ground_for(home, account) / "postgres"
        if data != link:
            link.symlink_to(data)
    ground = data.parent
    if account is not None and not account.can_pass(data if data.exists() else ground):
        raise ServiceStartError(f"user {account.name}, who is to run Postgres, cannot reach {data}")

    near = home if account is None or account.can_pass(home) else ground
    postgres_sockets = _socket_directory(home, near / "run" / "postgres", ".s.PGSQL.5432", account)
    return Layout(
        home=home,
        account=account,
        ground=ground,
        postgres_data=data,
        postgres_sockets=postgres_sockets,
        valkey_data=home / "valkey",
        valkey_socket=_socket_directory(home, run, "valkey.sock", None) / "valkey.sock",
    )


def give_to(account: ServiceAccount | None, path: Path) -> None:
    """Make ``path`` accessible to the account only."""
    path.chmod(0o700)
    if account is not None:
        os.chown(path, account.uid, account.gid)


def remove_temporary(home: Path) -> None:
    """Remove the socket directories that a run of this home has left under /tmp."""
    note = home / "run" / "temporary.json"
    for name in _noted(note):
        directory = Path(name)
        # The name comes from a file: remove only what can be ours.
        if directory.name.startswith(_PREFIX) and directory.is_dir() and not directory.is_symlink():
            shutil.rmtree(directory, ignore_errors=True)
    note.unlink(missing_ok=True)


def remove_files(home: Path) -> None:
    """Remove all files of a home whose services have stopped, also those outside it."""
    link = home / "postgres"
    ground = link.resolve().parent
    remove_temporary(home)
    for name in ("postgres", "postgres.new", "valkey", "log", "run", "bin"):
        path = home / name
        if path.is_symlink():
            if ground.name.startswith(_PREFIX):
                shutil.rmtree(ground, ignore_errors=True)
            path.unlink()
        else:
            shutil.rmtree(path, ignore_errors=True)


def _ground_for(home: Path, account: ServiceAccount) -> Path:
    """``home`` if the account can reach it, else a new directory that is kept as long as the home probably is."""
    if account.can_pass(home):
        return home
    temporary = Path(tempfile.gettempdir()).resolve()
    candidates = [Path("/tmp"), Path("/var/tmp")] if home.is_relative_to(temporary) else [_LASTING]  # noqa: S108
    for parent in candidates:
        if parent == _LASTING and not parent.exists():
            parent.mkdir(parents=True)
            parent.chmod(0o711)
        if account.can_pass(parent):
            ground = Path(tempfile.mkdtemp(prefix=_PREFIX, dir=parent))
            ground.chmod(0o711)
            (ground / "home").write_text(f"{home}\n", encoding="utf-8")
            return ground
    raise ServiceStartError(
        f"user {account.name}, who is to run Postgres, can reach neither {home} nor {candidates[0]}: "
        "set SEATLINE_HOME to a directory whose parents it may pass, or run Seatline as an ordinary user"
    )


def _socket_directory(home: Path, preferred: Path, socket: str, account: ServiceAccount | None) -> Path:
    path = str(preferred / socket)
    if len(os.fsencode(path)) <= _SOCKET_PATH_MAX and _PLAIN.fullmatch(path):
        if not preferred.exists():
            preferred.mkdir(parents=True)
            if account is not None:
                preferred.parent.chmod(0o711)
            give_to(account, preferred)
        return preferred
    for parent in (Path(tempfile.gettempdir()), Path("/tmp"), Path("/var/tmp")):  # noqa: S108
        fits = len(os.fsencode(parent)) + len(f"/{_PREFIX}12345678/{socket}") <= _SOCKET_PATH_MAX
        if fits and _PLAIN.fullmatch(str(parent)) and parent.is_dir() and (not account or account.can_pass(parent)):
            directory = Path(tempfile.mkdtemp(prefix=_PREFIX, dir=parent))
            give_to(account, directory)
            _note(home / "run" / "temporary.json", directory)
            return directory
    raise ServiceStartError(f"{home} is too deep for sockets and there is no usable temporary directory")


def _noted(note: Path) -> list[str]:
    try:
        names = json.loads(note.read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError):
        return []
    return [name for name in names if isinstance(name, str)] if isinstance(names, list) else []


def _note(note: Path, directory: Path) -> None:
    note.write_text(json.dumps([*_noted(note), str(directory)]), encoding="utf-8")
