"""A minimal HTTP/1.1 client for commands that send many requests: keep-alive, one request at a time, little CPU.

It understands what Seatline sends: a status, headers with a Content-Length, a body. It shares the machine with the
server that it loads, so it only searches a reply for the end of the headers and for the length.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable
from typing import NamedTuple, cast
from urllib.parse import urlsplit

HEADERS_END = b"\r\n\r\n"
REPLY_BYTES_MAX = 1 << 20


class HttpError(ConnectionError):
    """The server sent no reply, or one that is not understood."""


class HttpReply(NamedTuple):
    """A reply. ``headers`` are raw, without the empty line at their end."""

    status: int
    headers: bytes
    body: bytes

    @property
    def retry_after_s(self) -> float | None:
        """The seconds of ``Retry-After``; None without it."""
        value = header(self.headers, b"retry-after")
        return float(value) if value is not None and value.isdigit() else None


class Target(NamedTuple):
    """The address of a server. ``authority`` is the Host header to send."""

    host: str
    port: int
    authority: str
    tls: ssl.SSLContext | None

    @classmethod
    def of(cls, url: str) -> Target:
        """The target of ``url``.

        Raises:
            ValueError: if it is not an http or https address.
        """
        parts = urlsplit(url)
        if parts.scheme not in {"http", "https"} or not parts.hostname:
            raise ValueError(f"{url!r} is not an http:// or https:// address")
        tls = ssl.create_default_context() if parts.scheme == "https" else None
        return cls(parts.hostname, parts.port or (443 if tls else 80), parts.netloc.rpartition("@")[2], tls)


def header(headers: bytes, name: bytes) -> bytes | None:
    """The value of a header whose name is given in lower case."""
    start = headers.lower().find(b"\r\n" + name + b":")
    if start < 0:
        return None
    begin = start + len(name) + 3
    end = headers.find(b"\r\n", begin)
    return headers[begin : end if end >= 0 else len(headers)].strip()


def post(target: Target, path: str, token: str, key: str, body: bytes) -> bytes:
    """A POST request with a JSON body and an Idempotency-Key, ready to be sent."""
    head = (
        f"POST {path} HTTP/1.1\r\nHost: {target.authority}\r\nAuthorization: Bearer {token}\r\n"
        f"Idempotency-Key: {key}\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    return head.encode("ascii") + body


def get(target: Target, path: str, token: str | None = None) -> bytes:
    """A GET request, ready to be sent, perhaps with a token."""
    authorization = "" if token is None else f"Authorization: Bearer {token}\r\n"
    return f"GET {path} HTTP/1.1\r\nHost: {target.authority}\r\n{authorization}\r\n".encode("ascii")


class Connection(asyncio.Protocol):
    """A connection. ``on_reply`` is called with status, headers and body; ``on_lost`` with what ended it, if known."""

    __slots__ = ("_buffer", "_transport", "on_lost", "on_reply")

    def __init__(
        self, on_reply: Callable[[int, bytes, bytes], None], on_lost: Callable[[Exception | None], None]
    ) -> None:
        self.on_reply = on_reply
        self.on_lost = on_lost
        self._buffer = b""
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Called by the loop."""
        self._transport = cast("asyncio.Transport", transport)  # uvloop's are not of that class

    def send(self, request: bytes) -> None:
        """Send a request. The one before must have been answered.

        Raises:
            HttpError: if the connection is gone.
        """
        if self._transport is None or self._transport.is_closing():
            raise HttpError("the connection is closed")
        self._transport.write(request)

    def data_received(self, data: bytes) -> None:
        """Called by the loop."""
        if self._buffer:
            data = self._buffer + data
        end = data.find(HEADERS_END)
        if end < 0:
            self._keep(data)
            return
        try:
            status, total = int(data[9:12]), end + 4 + content_length(data, end)
        except ValueError:
            self._give_up("the server sent something that is not HTTP, or has no Content-Length")
            return
        if len(data) < total:
            self._keep(data)
            return
        self._buffer = b""
        self.on_reply(status, data[:end], data[end + 4 : total])

    def connection_lost(self, error: Exception | None) -> None:
        """Called by the loop."""
        self._transport = None
        self.on_lost(error)

    def close(self) -> None:
        """Close at once."""
        if self._transport is not None:
            self._transport.abort()

    def _keep(self, data: bytes) -> None:
        if len(data) > REPLY_BYTES_MAX:
            self._give_up("the server's answer is too long")
        else:
            self._buffer = data

    def _give_up(self, reason: str) -> None:
        self.on_lost(HttpError(reason))
        self.on_lost = lambda _error: None
        self.close()


def content_length(data: bytes, end: int) -> int:
    """The length of the body, from headers that end at ``end``.

    Raises:
        ValueError: if there is none.
    """
    at = data.find(b"Content-Length: ", 0, end)  # as aiohttp writes it
    if at < 0:
        at = data[:end].lower().index(b"content-length: ")
    return int(data[at + 16 : data.find(b"\r\n", at, end + 2)])


class AsyncConnection:
    """A connection for coroutines. It is opened when needed, and again after it was lost."""

    def __init__(self, target: Target) -> None:
        self._target = target
        self._connection: Connection | None = None
        self._waiting: asyncio.Future[HttpReply] | None = None

    async def exchange(self, request: bytes, timeout_s: float) -> HttpReply:
        """Send one request and wait for its answer.

        Raises:
            OSError: if there is no connection, or it was lost before the answer came.
            TimeoutError: if it did not come in time. The connection is closed then.
        """
        try:
            async with asyncio.timeout(timeout_s):
                connection = self._connection or await self._open()
                self._waiting = asyncio.get_running_loop().create_future()
                connection.send(request)
                return await self._waiting
        except BaseException:
            self.close()
            raise
        finally:
            self._waiting = None

    def close(self) -> None:
        """Close the connection, if there is one."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    async def _open(self) -> Connection:
        loop = asyncio.get_running_loop()
        target = self._target
        _, connection = await loop.create_connection(
            lambda: Connection(self._replied, self._lost), target.host, target.port, ssl=target.tls
        )
        self._connection = connection
        return connection

    def _replied(self, status: int, headers: bytes, body: bytes) -> None:
        if self._waiting is not None and not self._waiting.done():
            self._waiting.set_result(HttpReply(status, headers, body))

    def _lost(self, error: Exception | None) -> None:
        self._connection = None
        if self._waiting is not None and not self._waiting.done():
            self._waiting.set_exception(error or HttpError("the server closed the connection without an answer"))
