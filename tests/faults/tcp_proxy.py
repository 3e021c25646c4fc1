"""A TCP proxy that does to connections what networks do: delay, silence, lost replies, cuts, resets.

A trap can be set on bytes that go by, so that something happens exactly when a COMMIT is on its way or has come back.
"""

from __future__ import annotations

import asyncio
import contextlib
import enum
import socket
import struct
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Self

CHUNK = 1 << 16


class Way(enum.Enum):
    """Where bytes are going."""

    TO_SERVER = "to the server"
    TO_CLIENT = "to the client"


@dataclass(eq=False)
class Link:
    """One proxied connection.

    ``is_muted``: what the server says from now on is lost. ``is_cut``: nothing more is passed on either way.
    """

    client_port: int
    client: asyncio.StreamWriter
    server: asyncio.StreamWriter
    is_muted: bool = False
    is_cut: bool = False
    passed: int = 0

    def reset(self) -> None:
        """End it at once; the client gets a RST, the server too where it is reached by TCP."""
        self.is_cut = True
        for writer in (self.client, self.server):
            sock = writer.get_extra_info("socket")
            if sock is not None:
                with contextlib.suppress(OSError, ValueError):  # it has ended already
                    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            writer.transport.abort()


@dataclass(eq=False)
class Trap:
    """Waits for bytes and then does something before they are passed on. Springs once, for the first that match.

    Args:
        way: the direction to watch.
        pattern: the bytes to wait for; they must come in one piece, as small messages do.
        action: what to do with the connection. While it runs the bytes are held; to lose them it cuts or mutes.
        is_meant: whether this connection counts; None: any.
    """

    way: Way
    pattern: bytes
    action: Callable[[Link], Awaitable[None]]
    is_meant: Callable[[Link], bool] | None = None
    sprung: asyncio.Event = field(default_factory=asyncio.Event)

    def matches(self, link: Link, way: Way, data: bytes) -> bool:
        """Whether it springs now."""
        if way is not self.way or self.sprung.is_set() or self.pattern not in data:
            return False
        return self.is_meant is None or self.is_meant(link)


class TcpProxy:
    """Listens on a port of an address and passes everything to a server on a unix socket, faults permitting.

    ``delay_s`` holds every piece back for so long. ``cut_after`` resets a connection once so many bytes have passed.
    """

    def __init__(self, upstream: Path, address: str = "127.0.0.1") -> None:
        self._upstream = upstream
        self._address = address
        self._server: asyncio.Server | None = None
        self._links: set[Link] = set()
        self._flowing = asyncio.Event()
        self._flowing.set()
        self._refuses = False
        self.delay_s = 0.0
        self.cut_after: int | None = None
        self.trap: Trap | None = None
        self.port = 0

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._serve, self._address, 0)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._server is not None
        self._server.close()
        self.heal()
        self.reset_all()

    def black_hole(self) -> None:
        """Nothing gets through any more, not even a refusal. What was sent arrives once it is healed, as with TCP."""
        self._flowing.clear()

    def refuse(self) -> None:
        """As if nobody listened: all connections end, new ones at once."""
        self._refuses = True
        self.reset_all()

    def reset_all(self) -> None:
        """Reset every connection; new ones are welcome."""
        for link in list(self._links):
            link.reset()

    def mute(self) -> None:
        """Lose all further replies on the connections that are open."""
        for link in self._links:
            link.is_muted = True

    def heal(self) -> None:
        """A good network again. Connections that were cut or muted stay so."""
        self.delay_s, self.cut_after, self.trap, self._refuses = 0.0, None, None, False
        self._flowing.set()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self._refuses:
            writer.transport.abort()
            return
        await self._flowing.wait()
        try:
            from_server, to_server = await asyncio.open_unix_connection(str(self._upstream))
        except OSError:
            writer.transport.abort()
            return
        link = Link(writer.get_extra_info("peername")[1], writer, to_server)
        self._links.add(link)
        try:
            await asyncio.gather(
                self._pass_on(link, Way.TO_SERVER, reader, to_server),
                self._pass_on(link, Way.TO_CLIENT, from_server, writer),
            )
        finally:
            self._links.discard(link)

    async def _pass_on(self, link: Link, way: Way, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            while not link.is_cut and (data := await reader.read(CHUNK)):
                if await self._gets_through(link, way, data):
                    writer.write(data)
                    await writer.drain()
        with contextlib.suppress(OSError):
            writer.close()

    async def _gets_through(self, link: Link, way: Way, data: bytes) -> bool:
        if self.delay_s:
            await asyncio.sleep(self.delay_s)
        await self._flowing.wait()
        trap = self.trap
        if trap is not None and trap.matches(link, way, data):
            trap.sprung.set()
            await trap.action(link)
        link.passed += len(data)
        if self.cut_after is not None and link.passed > self.cut_after:
            link.reset()
        return not link.is_cut and not (link.is_muted and way is Way.TO_CLIENT)
