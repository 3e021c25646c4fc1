"""A network between Seatline and AWS that a test can silence."""

from __future__ import annotations

import asyncio
import contextlib
from types import TracebackType
from typing import Self


class Network:
    """Listens on a loopback port and passes everything on to another, unless it is silent.

    Silent: connections are accepted and what is sent is read, but nothing ever comes back.
    """

    def __init__(self, host: str, port: int) -> None:
        self._upstream = (host, port)
        self._server: asyncio.Server | None = None
        self._writers: set[asyncio.StreamWriter] = set()
        self.is_silent = False
        self.swallowed = asyncio.Event()
        """Set once a request has come while it was silent."""
        self.url = ""

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.url = f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._server is not None
        self._server.close()
        for writer in list(self._writers):
            writer.transport.abort()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.add(writer)
        try:
            if self.is_silent:
                while await reader.read(1 << 16):
                    self.swallowed.set()
                return
            upstream_reader, upstream_writer = await asyncio.open_connection(*self._upstream)
            self._writers.add(upstream_writer)
            await asyncio.gather(self._pass(reader, upstream_writer), self._pass(upstream_reader, writer))
        except OSError:
            pass  # one end has gone, which is what networks are for
        finally:
            self._writers.discard(writer)
            writer.close()

    async def _pass(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            while data := await reader.read(1 << 16):
                if self.is_silent:
                    self.swallowed.set()
                else:
                    writer.write(data)
                    await writer.drain()
        writer.close()
