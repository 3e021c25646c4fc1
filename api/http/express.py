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
from api.monitoring.metrics import METRICS, Traffic
from api.services import SERVICES


class ExpressClient(Protocol):
    """The connection whose request an express handler took. The handler calls one of these methods, once."""

    def answer_express(self, status: int, answer: bytes) -> None:
        """Write a whole answer."""

    def hand_back(self) -> None:
        """Let the usual handler answer after all."""


class PendingRequest:
    """What is kept of a request until it is answered: its id, its route and when it came."""

    __slots__ = ("_method", "_route", "_slow_s", "_started_at", "_traffic", "request_id")

    def __init__(self, traffic: Traffic, method: str, route: str, request_id: str, slow_s: float) -> None:
        self._traffic = traffic
        self._method = method
        self._route = route
        self._slow_s = slow_s
        self._started_at = time.perf_counter()
        self.request_id = request_id

    def answered(self, status: int) -> None:
        """Count the answer, and log it if it was slow or a failure."""
        seconds = time.perf_counter() - self._started_at
        note_answer(self._traffic, self._method, self._route, status, seconds, self.request_id, self._slow_s)


class ExpressHandler(ABC):
    """Answers requests of one route.

    Args:
        app: the application, whose services, limits and metrics it uses.
        method, path: of the route, as metrics and logs name it.
        replies: encodes whole answers.
    """

    def __init__(self, app: web.Application, method: str, path: str, replies: WireReplies) -> None:
        self._method = method
        self._path = path
        self._replies = replies
        self._traffic = app[METRICS].traffic
        self._request_ids = app[REQUEST_IDS]
        self._slow_s = app[SERVICES].config.slow_request_s

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

    def _pending(self, headers: CIMultiDictProxy[str]) -> PendingRequest:
        return PendingRequest(self._traffic, self._method, self._path, self._request_ids.of(headers), self._slow_s)
