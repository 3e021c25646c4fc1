"""Makes the connections of an API process, up to a number of them."""

from __future__ import annotations

import asyncio
from typing import Any, cast

from aiohttp import web
from aiohttp.web_protocol import RequestHandler

from api.edge.aiohttp_seam import CustomRunner
from api.edge.connection import EdgeConnection
from api.edge.error_answers import ERROR_ANSWERS
from api.edge.express_lane import ExpressLane
from api.edge.shedding import LoadShedding

TURN_AWAY_TIMEOUT_S = 5.0


class TurnedAway(asyncio.Protocol):
    """A connection too many: its first request is answered without being read, and it is closed."""

    def __init__(self, answer: bytes) -> None:
        self._answer = answer
        self._timer: asyncio.TimerHandle | None = None
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Wait for a request: closing with unread bytes would reset the connection before its answer is read."""
        self._transport = cast("asyncio.Transport", transport)
        loop = asyncio.get_running_loop()
        self._timer = loop.call_later(TURN_AWAY_TIMEOUT_S, self._transport.abort)

    def data_received(self, data: bytes) -> None:
        """Answer and close."""
        if self._transport is not None and not self._transport.is_closing():
            self._transport.write(self._answer)
            self._transport.close()

    def connection_lost(self, exc: Exception | None) -> None:
        """The connection is closed."""
        if self._timer is not None:
            self._timer.cancel()


class EdgeRunner(CustomRunner):
    """An ``AppRunner`` whose connections shed load and have an express lane.

    Args:
        app: the application.
        shedding, lane: of the application.
        connections_max: connections that may be open at once.
        options: those of ``AppRunner``.
    """

    __slots__ = ()

    def __init__(
        self, app: web.Application, shedding: LoadShedding, lane: ExpressLane, connections_max: int, **options: Any
    ) -> None:
        def connect(server: web.Server, connections: int, options: dict[str, Any]) -> RequestHandler:
            if connections >= connections_max:
                return cast("RequestHandler", TurnedAway(shedding.refusals.of_connection()))
            return EdgeConnection(server, shedding, lane, app[ERROR_ANSWERS], **options)

        super().__init__(app, connect, **options)
