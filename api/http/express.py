"""Express handlers: a second way to answer a hot route, without a task, a request and a response for each request.

A route declares its express handler beside its usual one (``Route.hot``), and the express lane
(`api/edge/express_lane.py`) offers it every request that aiohttp's parser found nothing odd in. An express handler
follows the same rules by the same functions, and declines whatever is not plain sailing: only the usual handler says
no before the gateway does. The tests of the API run over both ways.
"""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from typing import Protocol

from aiohttp import web
from multidict import CIMultiDictProxy

from api.http.replies import WireReplies
from api.monitoring.answered import REQUEST_IDS, note_answer
from api.monitoring.metrics import METRICS
from api.services import SERVICES


class ExpressClient(Protocol):
    """The connection whose request an express handler took. The handler calls one of these methods, once."""

    def answer_express(self, status: int, answer: bytes) -> None:
        """Write a whole answer."""

    def hand_back(self) -> None:
        """Let the usual handler answer after all."""


class ExpressHandler(ABC):
    """Answers requests of one route.

    Args:
        app: the application, whose services, limits and metrics it uses.
        method, path: of the route, as metrics and logs name it.
        replies: encodes whole answers.
    """

    def __init__(self, app: web.Application, method: str, path: str, replies: WireReplies) -> None:
        self.method = method
        self.path = path
        self.replies = replies
        self.traffic = app[METRICS].traffic
        self.request_ids = app[REQUEST_IDS]
        self.slow_s = app[SERVICES].config.slow_request_s

    @abstractmethod
    def take(self, headers: CIMultiDictProxy[str], body: bytes, path_id: int, client: ExpressClient) -> bool:
        """Take on a whole request, or decline it.

        Args:
            headers: of the request.
            body: all of it.
            path_id: the id in the path, 0 if the route has none.
            client: told once if the request is taken, perhaps before this returns.

        Returns:
            Whether it was taken. If not, nothing has happened.
        """


class PendingRequest:
    """What is kept of a request until it is answered: its id and when it came.

    Args:
        handler: what took it.
        headers: of the request.
    """

    __slots__ = ("_handler", "_started_at", "request_id")

    def __init__(self, handler: ExpressHandler, headers: CIMultiDictProxy[str]) -> None:
        self._handler = handler
        self._started_at = time.perf_counter()
        self.request_id = handler.request_ids.of(headers)

    def answered(self, status: int) -> None:
        """Count the answer, and log it if it was slow or a failure."""
        by = self._handler
        seconds = time.perf_counter() - self._started_at
        note_answer(by.traffic, by.method, by.path, status, seconds, self.request_id, by.slow_s)
