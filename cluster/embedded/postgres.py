"""The embedded Postgres: initializes, starts and stops it."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import time
from collections.abc import Callable
from pathlib import Path
from urllib.parse import quote

import asyncpg

from cluster.embedded import binaries as programs
from cluster.embedded.errors import ServiceStartError
from cluster.embedded.layout import Layout, give_to
from cluster.embedded.logfile import LogFile
from cluster.embedded.processes import Child, Escalation, can_find_orphans, end_orphans, launch

StartProgress = Callable[[str, float], None]
"""Called with each finished step of a start and the seconds that it took."""

USER = "seatline"
"""Owns the tables."""
APP_USER = "seatline_app"
"""Serves requests, with the rights of persistence/schema/roles.py. Socket and directory are private, so neither role
needs a password."""
DATABASE = "seatline"
_PORT = 5432  # names the socket file; nothing listens on a network
_START_S = 60.0
_RECOVERY_S = 600.0
_POLL_S = 0.03
_PROGRAMS = frozenset({"postgres", "initdb"})
# SIGINT is Postgres' fast stop: it rolls back what is open and writes everything out.
_STOP: Escalation = ((signal.SIGINT, 30.0), (signal.SIGQUIT, 10.0), (signal.SIGKILL, 5.0))

_SETTINGS = {
    "port": str(_PORT),
    "listen_addresses": "",
    "unix_socket_permissions": "0700",
    "cluster_name": "seatline",
    "max_connections": "300",
    # Durability: what was acknowledged must survive anything.
    "fsync": "on",
    "synchronous_commit": "on",
    "full_page_writes": "on",
    # Sizes for a machine of two cores, shared with all of Seatline.
    "shared_buffers": "256MB",
    "effective_cache_size": "1GB",
    "work_mem": "8MB",
    "maintenance_work_mem": "128MB",
    "max_wal_size": "2GB",
    "min_wal_size": "256MB",
    "checkpoint_timeout": "15min",
    "max_worker_processes": "4",
    "max_parallel_workers": "2",
    "max_parallel_workers_per_gather": "1",
    "random_page_cost": "1.1",
    # None of our queries runs long enough to gain from compilation.
    "jit": "off",
    "timezone": "UTC",
    "log_timezone": "UTC",
    "log_line_prefix": "%m [%p] %a ",
}


class Postgres:
    """One server on one data directory."""

    name = "postgres"

    def __init__(self, layout: Layout, progress: StartProgress) -> None:
        self._layout = layout
        self._progress = progress
        self._log = LogFile(layout.log(self.name))
        self._binaries: programs.PostgresBinaries | None = None
        self._child: Child | None = None

    @property
    def url(self) -> str:
        return self._url_of(USER)

    @property
    def app_url(self) -> str:
        return self._url_of(APP_USER)

    @property
    def child(self) -> Child | None:
        return self._child

    async def prepare(self) -> None:
        """Find the programs and make the database directory if there is none."""
        started = time.monotonic()
        self._binaries = await asyncio.to_thread(self._find_binaries)
        self._progress("postgres binaries", time.monotonic() - started)
        if not (self._layout.postgres_data / "PG_VERSION").exists():
            started = time.monotonic()
            await self._initdb(self._binaries)
            self._progress("postgres initdb", time.monotonic() - started)

    async def start(self) -> None:
        """Start the server and wait until it answers.

        Raises:
            ServiceStartError: if it does not. The message has the end of its log.
        """
        assert self._binaries is not None, "prepare comes first"  # noqa: S101
        await self._recover()
        started = time.monotonic()
        self._log.rotate()
        settings = {**_SETTINGS, "unix_socket_directories": str(self._layout.postgres_sockets)}
        options = [part for name, value in settings.items() for part in ("-c", f"{name}={value}")]
        self._child = launch(
            [self._binaries.postgres, "-D", self._layout.postgres_data, *options],
            directory=self._layout.postgres_data,
            log=self._log.path,
            death_signal=signal.SIGINT,
            account=self._layout.account,
            environment=_environment(),
        )
        await self._wait_until_ready(self._child)
        self._progress("postgres start", time.monotonic() - started)

    async def stop(self) -> None:
        """Stop the server and wait until all of it is gone."""
        if self._child is not None:
            await self._child.stop(_STOP)
        await end_orphans(self._layout.postgres_data, _PROGRAMS, None, _STOP)

    def _url_of(self, user: str) -> str:
        return f"postgresql://{user}@/{DATABASE}?host={quote(str(self._layout.postgres_sockets))}"

    def _find_binaries(self) -> programs.PostgresBinaries:
        account = self._layout.account

        def within_reach(directory: Path) -> bool:
            return account is None or account.can_read(directory / "postgres", programs.postgres_share(directory))

        found = programs.find_postgres(major=self._data_major(), usable=within_reach)
        if account is None or within_reach(found.bin):
            return found
        return programs.copy_for(account, found, self._layout.ground / "bin")

    def _data_major(self) -> int | None:
        try:
            return int((self._layout.postgres_data / "PG_VERSION").read_text(encoding="ascii"))
        except FileNotFoundError:
            return None

    async def _initdb(self, binaries: programs.PostgresBinaries) -> None:
        # Under another name until it is complete: a killed initdb leaves a directory that looks like a database.
        data = self._layout.postgres_data
        making = data.with_name(f"{data.name}.new")
        await end_orphans(making, _PROGRAMS, None, _STOP)
        shutil.rmtree(making, ignore_errors=True)
        making.mkdir(mode=0o700)
        give_to(self._layout.account, making)
        self._log.rotate()
        command: list[str | Path] = [binaries.initdb, "-D", making, "--username", USER, "--auth", "trust"]
        command += ["--encoding", "UTF8", "--locale", "C.UTF-8", "--data-checksums"]
        child = launch(
            command,
            directory=making,
            log=self._log.path,
            death_signal=signal.SIGTERM,
            account=self._layout.account,
            environment=_environment(),
        )
        try:
            status = await child.wait(_START_S)
        finally:
            await child.stop(_STOP)
        if status != 0:
            raise ServiceStartError(f"initdb made no database in {making} (exit {status}){self._log.tail()}")
        if data.exists():
            data.rmdir()  # fails unless it is empty: what is in it is not ours to remove
        making.rename(data)

    async def _recover(self) -> None:
        """Clean up after a killed run: end what still runs on our data, remove files that would prevent a start."""
        data = self._layout.postgres_data
        pid_file = data / "postmaster.pid"
        started = time.monotonic()
        ended = await end_orphans(data, _PROGRAMS, _leader(pid_file), _STOP)
        if ended:
            self._progress("postgres of a killed run ended", time.monotonic() - started)
        if can_find_orphans():
            # Nothing runs here, so the process id is stale. By now another process may have it, which Postgres would
            # take for a server.
            pid_file.unlink(missing_ok=True)
            for leftover in self._layout.postgres_sockets.glob(".s.PGSQL.*"):
                leftover.unlink(missing_ok=True)

    async def _wait_until_ready(self, child: Child) -> None:
        deadline = time.monotonic() + _START_S
        recovery_deadline = time.monotonic() + _RECOVERY_S
        reason = "it does not answer"
        while time.monotonic() < deadline:
            if child.exit_status is not None:
                raise ServiceStartError(f"Postgres ended at once (exit {child.exit_status}){self._log.tail()}")
            try:
                connection = await self._connect("postgres")
            except asyncpg.CannotConnectNowError as error:
                # It is alive and replays its log after a crash: that may take longer than a start.
                deadline = recovery_deadline
                reason = str(error)
            except (OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
                reason = str(error) or reason
            else:
                try:
                    await _ensure_database(connection)
                finally:
                    connection.terminate()
                return
            await asyncio.sleep(_POLL_S)
        await child.stop(_STOP)
        raise ServiceStartError(f"Postgres did not come up in time: {reason}{self._log.tail()}")

    async def _connect(self, database: str) -> asyncpg.Connection:
        host = str(self._layout.postgres_sockets)
        return await asyncpg.connect(host=host, port=_PORT, user=USER, database=database, timeout=5)


async def _ensure_database(connection: asyncpg.Connection) -> None:
    if not await connection.fetchval("SELECT true FROM pg_database WHERE datname = $1", DATABASE):
        await connection.execute(f'CREATE DATABASE "{DATABASE}"')
    if not await connection.fetchval("SELECT true FROM pg_roles WHERE rolname = $1", APP_USER):
        await connection.execute(f'CREATE ROLE "{APP_USER}" LOGIN')


def _environment() -> dict[str, str]:
    """Our environment without the variables of Postgres, which are meant for another server."""
    return {name: value for name, value in os.environ.items() if not name.startswith("PG")}


def _leader(pid_file: Path) -> int | None:
    try:
        first = pid_file.read_text(encoding="utf-8").split("\n", 1)[0].strip()
    except FileNotFoundError:
        return None
    return int(first) if first.isdigit() else None
