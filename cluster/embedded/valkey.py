"""The embedded Valkey: starts and stops it. It holds caches and leases, in memory only."""

from __future__ import annotations

import asyncio
import signal
import time
from collections.abc import Callable

from cluster.embedded import binaries as programs
from cluster.embedded.errors import ServiceStartError
from cluster.embedded.layout import Layout
from cluster.embedded.logfile import LogFile
from cluster.embedded.processes import Child, Escalation, end_orphans, launch

_START_S = 20.0
_POLL_S = 0.02
_PROGRAMS = frozenset({"valkey-server", "redis-server"})
_STOP: Escalation = ((signal.SIGTERM, 10.0), (signal.SIGKILL, 5.0))

_SETTINGS = {
    "port": "0",
    "unixsocketperm": "700",
    "daemonize": "no",
    "save": "",
    "appendonly": "no",
    "maxmemory": "256mb",
    # Only keys with a time to live may go: a lease must never be pushed out by a cache entry without one.
    "maxmemory-policy": "volatile-lru",
}


class Valkey:
    """One server on one socket."""

    name = "valkey"

    def __init__(self, layout: Layout, progress: Callable[[str, float], None]) -> None:
        self._layout = layout
        self._progress = progress
        self._log = LogFile(layout.log(self.name))
        self._binary: programs.ValkeyBinary | None = None
        self._child: Child | None = None

    @property
    def url(self) -> str:
        return f"unix://{self._layout.valkey_socket}"

    @property
    def child(self) -> Child | None:
        return self._child

    async def prepare(self) -> None:
        """Find the program."""
        self._binary = await asyncio.to_thread(programs.find_valkey)

    async def start(self) -> None:
        """Start the server and wait until it answers.

        Raises:
            ServiceStartError: if it does not. The message has the end of its log.
        """
        assert self._binary is not None, "prepare comes first"  # noqa: S101
        started = time.monotonic()
        if await end_orphans(self._layout.valkey_data, _PROGRAMS, None, _STOP):
            self._progress("valkey of a killed run ended", time.monotonic() - started)
        started = time.monotonic()
        self._log.rotate()
        settings = {**_SETTINGS, "unixsocket": str(self._layout.valkey_socket)}
        options = [part for name, value in settings.items() for part in (f"--{name}", value)]
        self._child = launch(
            [self._binary.server, *options],
            directory=self._layout.valkey_data,
            log=self._log.path,
            death_signal=signal.SIGTERM,
        )
        await self._wait_until_ready(self._child)
        self._progress("valkey start", time.monotonic() - started)

    async def stop(self) -> None:
        """Stop the server and wait until it is gone."""
        if self._child is not None:
            await self._child.stop(_STOP)
        self._layout.valkey_socket.unlink(missing_ok=True)

    async def _wait_until_ready(self, child: Child) -> None:
        deadline = time.monotonic() + _START_S
        while time.monotonic() < deadline:
            if child.exit_status is not None:
                raise ServiceStartError(f"Valkey ended at once (exit {child.exit_status}){self._log.tail()}")
            if await self._answers():
                return
            await asyncio.sleep(_POLL_S)
        await child.stop(_STOP)
        raise ServiceStartError(f"Valkey did not come up within {_START_S:.0f} s{self._log.tail()}")

    async def _answers(self) -> bool:
        try:
            async with asyncio.timeout(2):
                reader, writer = await asyncio.open_unix_connection(str(self._layout.valkey_socket))
                try:
                    writer.write(b"PING\r\n")
                    return await reader.readline() == b"+PONG\r\n"
                finally:
                    writer.close()
        except (OSError, TimeoutError):
            return False
