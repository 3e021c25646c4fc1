"""Where the edge holds on to what aiohttp keeps private. No other module of the product does.

aiohttp gives no public way to answer a request that it has parsed without a task and a handler, or to choose the
protocol of a connection. So these classes use, of its private names:

- ``_messages``, ``_parser``: the requests that the parser has read, to take one away and to give it back;
- ``_waiter``: what the task of a connection sleeps on, so that it sleeps on while the express lane answers;
- ``_request_in_progress``, ``_handler_waiter``: what a shutdown waits for;
- ``_next_keepalive_close_time``, ``_keepalive_timeout``, ``_loop``: when an idle connection is closed;
- ``_upgraded``, ``_task_handler``: whether the connection is still HTTP, and whether a handler still runs;
- ``_cache`` of a request, where its version is, which is that of its answer;
- ``_loop``, ``_kwargs``, ``_connections`` of the server and ``_make_server`` of the runner: the choice of the protocol.

The version of aiohttp is locked; `tests/unit/api/test_shedding.py` and `test_express.py` fail if their meaning changes.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from aiohttp import HttpVersion10, web
from aiohttp.http_parser import RawRequestMessage
from aiohttp.web_protocol import RequestHandler
from aiohttp.web_request import BaseRequest


class AiohttpConnection(RequestHandler):
    """aiohttp's side of a connection, from which one parsed request at a time may be taken away."""

    __slots__ = ("_taken",)

    def __init__(self, manager: web.Server, **options: Any) -> None:
        super().__init__(manager, **options)
        self._taken: Any = None  # a request and its payload, as they stand in the queue of aiohttp

    def has_parsed(self) -> bool:
        """Whether a request that the parser has read waits for its handler."""
        return bool(self._messages)

    def has_backlog(self) -> bool:
        """Whether aiohttp has something to do first: a request that waits, or another protocol to speak."""
        return bool(self._messages) or self._upgraded

    def parse_asleep(self, data: bytes) -> bool:
        """Have the parser read ``data``, and let the task that calls handlers sleep on.

        Returns:
            Whether there is a request now.
        """
        waiter, self._waiter = self._waiter, None
        super().data_received(data)
        self._waiter = waiter
        return bool(self._messages)

    def wake(self) -> None:
        """Have the task of the connection call handlers for what was parsed while it slept."""
        if self._messages and self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    def take_parsed(self) -> RawRequestMessage | None:
        """Take the next request away from aiohttp, which counts it as in progress until it is done or given back.

        Returns:
            Its head; None if it is one that only aiohttp can answer, which then stays where it is.
        """
        message = self._messages[0][0]
        if not isinstance(message, RawRequestMessage) or self._request_in_progress:
            return None
        self._taken = self._messages.popleft()
        self._request_in_progress = True
        self._next_keepalive_close_time = self._loop.time() + self._keepalive_timeout
        return message

    def give_back(self) -> None:
        """Put the request that was taken back to where it was."""
        self._messages.appendleft(self._taken)
        self._taken, self._request_in_progress = None, False

    def done_with_taken(self) -> None:
        """The request that was taken needs aiohttp no more: the parser may go on, and so may a shutdown."""
        self._taken, self._request_in_progress = None, False
        if self._parser is not None:
            self._parser.message_consumed()
        self.end_wait_of_shutdown()

    def end_wait_of_shutdown(self) -> None:
        """Let a shutdown go on that waits for the request in progress."""
        if self._handler_waiter is not None and not self._handler_waiter.done():
            self._handler_waiter.set_result(None)

    def begin_keepalive(self) -> None:
        """From now on the connection counts as idle."""
        self._next_keepalive_close_time = self._loop.time() + self._keepalive_timeout

    def handler_task(self) -> asyncio.Task[None] | None:
        """The task that calls the handlers; None once it has ended or the connection is lost."""
        return self._task_handler


def answer_as_http_1_0(request: BaseRequest) -> None:
    """Let the answer to a request that spoke another version be one that every client can read."""
    request._cache["version"] = HttpVersion10


MakeConnection = Callable[[web.Server, int, dict[str, Any]], "RequestHandler"]
"""Makes the protocol of a new connection, of the server, the number of open connections, and the options."""


class CustomServer(web.Server):
    """aiohttp's server, with protocols that somebody else makes."""

    def __init__(self, server: web.Server, make_connection: MakeConnection) -> None:
        super().__init__(
            server.request_handler, request_factory=server.request_factory, loop=server._loop, **server._kwargs
        )
        self._make_connection = make_connection

    def __call__(self) -> RequestHandler:
        """The protocol of a new connection."""
        return self._make_connection(self, len(self._connections), {"loop": self._loop, **self._kwargs})


class CustomRunner(web.AppRunner):
    """aiohttp's runner, with protocols that somebody else makes.

    Args:
        app: the application.
        make_connection: makes them.
        options: those of ``AppRunner``.
    """

    __slots__ = ("_make_connection",)

    def __init__(self, app: web.Application, make_connection: MakeConnection, **options: Any) -> None:
        super().__init__(app, **options)
        self._make_connection = make_connection

    async def _make_server(self) -> web.Server:
        return CustomServer(await super()._make_server(), self._make_connection)
