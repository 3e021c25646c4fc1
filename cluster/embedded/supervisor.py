"""Runs Postgres and Valkey for the duration of an ``async with`` block, and restarts them if they end."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import os
import socket
import time
from collections.abc import Callable, Coroutine
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from types import TracebackType
from typing import Protocol, Self
from urllib.parse import parse_qs, urlsplit

from cluster.embedded.errors import ServiceStartError
from cluster.embedded.layout import Layout, prepare_layout, remove_temporary, run_directory
from cluster.embedded.lock import HomeLock
from cluster.embedded.postgres import Postgres
from cluster.embedded.processes import Child
from cluster.embedded.valkey import Valkey

_log = logging.getLogger(__name__)

_BACKOFF_FIRST_S = 0.1
_BACKOFF_MAX_S = 5.0
_STEADY_S = 30.0


@dataclass(frozen=True)
class EmbeddedUrls:
    """The addresses of the services."""

    database_url: str
    """For the owner of the tables, with asyncpg."""
    app_database_url: str
    """For the role that serves requests."""
    redis_url: str
    """For redis-py."""


class Service(Protocol):
    """A service, as the supervisor needs it."""

    name: str

    @property
    def url(self) -> str: ...
    @property
    def child(self) -> Child | None: ...
    async def prepare(self) -> None: ...
    async def start(self) -> None: ...
    async def stop(self) -> None: ...


class EmbeddedServices:
    """Postgres and Valkey on unix sockets under ``home``, for the duration of an ``async with`` block.

    A service that ends by itself is started again. If this process is killed, the kernel stops the services (on Linux),
    and the next start cleans up what is left. Enter the block from a thread that lasts as long as the block.

    Args:
        home: the directory for data, logs and sockets; made if missing.
        progress: called with each finished step of the start, and its seconds.
    """

    def __init__(self, home: Path, progress: Callable[[str, float], None] | None = None) -> None:
        self._home = home
        self._progress = progress or (lambda _step, _seconds: None)
        self._lock: HomeLock | None = None
        self._services: list[Service] = []
        self._keepers: list[asyncio.Task[None]] = []
        self._urls: EmbeddedUrls | None = None

    @property
    def database_url(self) -> str:
        return self._running.database_url

    @property
    def app_database_url(self) -> str:
        return self._running.app_database_url

    @property
    def redis_url(self) -> str:
        return self._running.redis_url

    @property
    def pids(self) -> dict[str, int]:
        """The process of each service by its name: ``postgres`` and ``valkey``."""
        return {service.name: service.child.pid for service in self._services if service.child is not None}

    @property
    def _running(self) -> EmbeddedUrls:
        if self._urls is None:
            raise RuntimeError("the embedded services do not run: use 'async with'")
        return self._urls

    async def __aenter__(self) -> Self:
        """Start both services.

        Raises:
            ServicesAlreadyRunning: if another process runs them on this home.
            ServiceStartError: if a program is missing or a service does not start.
        """
        try:
            self._home = self._home.resolve()
            self._lock = await HomeLock.acquire(self._home, run_directory(self._home) / "lock")
            await self._start()
        except BaseException as error:
            await _to_the_end(self._stop())
            if isinstance(error, OSError):
                raise ServiceStartError(f"the services of {self._home} cannot start: {error}") from error
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await _to_the_end(self._stop())

    @staticmethod
    def attach(home: Path) -> EmbeddedUrls | None:
        """The addresses of the services that another process runs on ``home`` now; None if there are none."""
        try:
            state = json.loads((home.resolve() / "run" / "services.json").read_text(encoding="utf-8"))
            urls = EmbeddedUrls(*(str(state[field.name]) for field in fields(EmbeddedUrls)))
            os.kill(int(state["pid"]), 0)
        except (OSError, ValueError, KeyError, TypeError):
            return None
        sockets = parse_qs(urlsplit(urls.database_url).query)["host"][0]
        alive = _accepts(f"{sockets}/.s.PGSQL.5432") and _accepts(urlsplit(urls.redis_url).path)
        return urls if alive else None

    async def _start(self) -> None:
        started = time.monotonic()
        layout = await asyncio.to_thread(prepare_layout, self._home)
        self._progress("directories", time.monotonic() - started)
        postgres, valkey = Postgres(layout, self._progress), Valkey(layout, self._progress)
        self._services = [postgres, valkey]
        for service in self._services:
            await service.prepare()
        for service in self._services:
            await service.start()
        self._urls = EmbeddedUrls(postgres.url, postgres.app_url, valkey.url)
        self._write_state(layout)
        self._keepers = [asyncio.create_task(_keep_up(service)) for service in self._services]

    def _write_state(self, layout: Layout) -> None:
        state = {"pid": os.getpid(), **asdict(self._running)}
        path = layout.home / "run" / "services.json"
        new = path.with_suffix(".new")
        new.write_text(json.dumps(state), encoding="utf-8")
        new.chmod(0o600)
        new.replace(path)

    async def _stop(self) -> None:
        for keeper in self._keepers:
            keeper.cancel()
        await asyncio.gather(*self._keepers, return_exceptions=True)
        self._keepers = []
        if self._lock is None:
            return
        # The note that they run goes first, so that nobody attaches to services that are about to end.
        (self._home / "run" / "services.json").unlink(missing_ok=True)
        outcomes = await asyncio.gather(*(service.stop() for service in self._services), return_exceptions=True)
        for outcome in outcomes:
            if isinstance(outcome, BaseException):
                _log.error("a service did not stop in order", exc_info=outcome)
        self._services = []
        self._urls = None
        remove_temporary(self._home)
        self._lock.release()
        self._lock = None


async def _to_the_end(work: Coroutine[None, None, None]) -> None:
    """Await ``work`` even if cancelled meanwhile (a second Ctrl-C): a partial stop would leave processes behind."""
    task = asyncio.ensure_future(work)
    cancelled: asyncio.CancelledError | None = None
    while not task.done():
        try:
            await asyncio.shield(task)
        except asyncio.CancelledError as error:
            cancelled = error
    task.result()
    if cancelled is not None:
        raise cancelled


async def _keep_up(service: Service) -> None:
    """Start ``service`` again whenever it ends, with a longer pause each time that it did not last."""
    pause_s = _BACKOFF_FIRST_S
    while (child := service.child) is not None:
        started = time.monotonic()
        status = await child.wait()
        if time.monotonic() - started > _STEADY_S:
            pause_s = _BACKOFF_FIRST_S
        _log.warning("%s ended by itself (exit %s); starting it again in %.1f s", service.name, status, pause_s)
        await asyncio.sleep(pause_s)
        pause_s = min(pause_s * 2, _BACKOFF_MAX_S)
        try:
            await service.start()
        except (ServiceStartError, OSError) as error:
            _log.error("%s did not start again: %s", service.name, error)
        else:
            _log.warning("%s is back", service.name)


def _accepts(path: str) -> bool:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(2)
        with contextlib.suppress(OSError):
            probe.connect(path)
            return True
    return False
