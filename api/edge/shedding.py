"""What is turned away before it costs anything: enrolments when there is no room, and students who flood.

A refusal made by a handler costs a third of a decision. At ten times the load that fits, refusing would take all the
time there is; so these answers are encoded once, and the protocol (`protocol.py`) writes them before the request
is parsed.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections import Counter, deque
from collections.abc import Callable, Iterable, Sequence
from http import HTTPStatus
from itertools import cycle
from typing import Protocol

import structlog
from aiohttp import web
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from api.edge.admission import Admission
from api.edge.framing import header_value
from api.edge.shed_budget import ShedBudget
from api.http import problems
from api.http.problems import ProblemKind
from api.http.replies import API_HEADERS, encode
from api.schemas.problem import ProblemReply

log = structlog.get_logger(__name__)

RETRY_AFTER_S = (1, 2, 3)
"""Different ones, so that those who were turned away together do not come back together."""
TICK_S = 0.002
PORTION = 32
"""Enrolments let in at a time: who is refused when a crowd comes at one moment need not wait for all of them."""
FLOODERS_MAX = 10_000
AUTHORIZATION = b"\r\nauthorization: "
ORIGIN = b"\r\norigin: "
EXPOSED = "ETag, Idempotent-Replayed, Location, Retry-After, X-Request-Id"


class Answerable(Protocol):
    """A connection that waits for an answer."""

    def answer(self, refusal: bytes) -> None:
        """Write it."""


class Shedder(Collector):
    """Says whom to turn away, and with what bytes.

    Args:
        admission: how many enrolments may be under way.
        headers: what every answer has beside its own.
        cors_origins: origins whose pages must be able to read the answer.
        now: a monotonic clock.
    """

    def __init__(
        self,
        admission: Admission,
        *,
        headers: dict[str, str] | None = None,
        cors_origins: Sequence[str] = (),
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self.admission = admission
        self.shed: Counter[str] = Counter()
        self._headers = headers or {}
        self._origins = frozenset(origin.encode() for origin in cors_origins)
        self._now = now
        self._budget = ShedBudget(now=now)
        self._due: deque[tuple[Answerable, bytes]] = deque()
        self._entering: deque[Callable[[], None]] = deque()
        self._is_letting_in = False
        self._timer: asyncio.TimerHandle | None = None
        self._request_id = f"{os.urandom(6).hex()}-shed"
        self._flooders: dict[bytes, float] = {}
        self._made: dict[tuple[str, int, bytes | None], bytes] = {}
        self._retry_after_s = cycle(RETRY_AFTER_S)
        self.too_many_connections = self._make(problems.OVERLOADED, 1, None, close=True)

    def refuse_until(self, authorization: str, retry_after_s: float) -> None:
        """Who sends this Authorization header has used up their limit: no need to look again before it is due."""
        if len(self._flooders) >= FLOODERS_MAX:
            now = self._now()
            self._flooders = {key: due_at for key, due_at in self._flooders.items() if due_at > now}
        if len(self._flooders) < FLOODERS_MAX:
            self._flooders[authorization.encode("utf-8", "surrogateescape")] = self._now() + retry_after_s

    def refusal(self, data: bytes, head: bytes) -> bytes | None:
        """The answer to an enrolment that is turned away; None if it may come in.

        Args:
            data: the request, as far as it is here.
            head: its head in lower case.
        """
        if self._flooders:
            refusal = self._refusal_of_student(data, head)
            if refusal is not None:
                return refusal
        if self.admission.has_room():
            return None
        self.shed["overloaded"] += 1
        return self._answer(problems.OVERLOADED, next(self._retry_after_s), data, head)

    def decided(self, entered_at: float, *, was_decided: bool) -> None:
        """An enrolment that was under way is answered."""
        self.admission.leave(entered_at, was_decided=was_decided)
        self._budget.decided()

    def let_in(self, take: Callable[[], None]) -> None:
        """Call ``take`` soon, in its turn."""
        self._entering.append(take)
        if not self._is_letting_in:
            self._is_letting_in = True
            asyncio.get_running_loop().call_soon(self._let_portion_in)

    def _let_portion_in(self) -> None:
        for _ in range(min(PORTION, len(self._entering))):
            take = self._entering.popleft()
            try:
                take()
            except Exception:
                log.exception("an enrolment could not be taken")
        self._is_letting_in = bool(self._entering)
        if self._is_letting_in:
            asyncio.get_running_loop().call_soon(self._let_portion_in)

    def may_answer_now(self) -> bool:
        """Whether there is time to turn one more away, and nobody else is to be answered first."""
        return not self._due and self._budget.take()

    def answer_later(self, client: Answerable, refusal: bytes) -> None:
        """Answer when there is time. Who waits here is bounded by the number of connections."""
        self._due.append((client, refusal))
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(TICK_S, self._answer_due)

    def _answer_due(self) -> None:
        while self._due and self._budget.take():
            client, refusal = self._due.popleft()
            client.answer(refusal)
        loop = asyncio.get_running_loop()
        self._timer = loop.call_later(TICK_S, self._answer_due) if self._due else None

    def _refusal_of_student(self, data: bytes, head: bytes) -> bytes | None:
        authorization = header_value(data, head, AUTHORIZATION)
        if authorization is None:
            return None
        due_at = self._flooders.get(authorization)
        if due_at is None:
            return None
        wait_s = due_at - self._now()
        if wait_s <= 0:
            del self._flooders[authorization]
            return None
        self.shed["rate_limited"] += 1
        return self._answer(problems.RATE_LIMITED, int(wait_s) + 1, data, head)

    def _answer(self, kind: ProblemKind, retry_after_s: int, data: bytes, head: bytes) -> bytes:
        origin = header_value(data, head, ORIGIN) if self._origins else None
        if origin not in self._origins:
            origin = None
        key = kind.code, retry_after_s, origin
        made = self._made.get(key)
        if made is None:
            made = self._made[key] = self._make(kind, retry_after_s, origin)
        return made

    def _make(self, kind: ProblemKind, retry_after_s: int, origin: bytes | None, *, close: bool = False) -> bytes:
        body = encode(
            ProblemReply(
                type=f"urn:seatline:problem:{kind.code}",
                title=kind.title,
                status=kind.status,
                code=kind.code,
                detail=kind.title,
                request_id=self._request_id,
            )
        )
        headers = {
            "Content-Type": "application/problem+json",
            "Cache-Control": "no-store",
            **API_HEADERS,
            **self._headers,
            "Retry-After": str(retry_after_s),
            "X-Request-Id": self._request_id,
            "Content-Length": str(len(body)),
        }
        if origin is not None:
            headers |= {"Access-Control-Allow-Origin": origin.decode(), "Access-Control-Expose-Headers": EXPOSED}
        if close:
            headers["Connection"] = "close"
        lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
        return f"HTTP/1.1 {kind.status} {HTTPStatus(kind.status).phrase}\r\n{lines}\r\n".encode() + body

    def collect(self) -> Iterable[Metric]:
        """What Prometheus reads."""
        shed = CounterMetricFamily(
            "seatline_shed", "Enrolments and connections turned away before they were parsed.", labels=["reason"]
        )
        for reason, count in self.shed.items():
            shed.add_metric([reason], count)
        limit = GaugeMetricFamily("seatline_admission_limit", "Enrolments that may be under way.")
        limit.add_metric([], self.admission.limit)
        in_flight = GaugeMetricFamily("seatline_admission_in_flight", "Enrolments under way.")
        in_flight.add_metric([], self.admission.in_flight)
        return [shed, limit, in_flight]


SHEDDER = web.AppKey("SHEDDER", Shedder)
