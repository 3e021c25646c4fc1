"""The load generator: many connections in one process, each with one request under way.

Closed loop: a connection sends its next request when it has the answer to the one before. This measures what the server
can do at most. Open loop: requests are due at a constant rate whatever the server does, and a latency counts from when
a request was due, not from when a connection was free for it. This measures what students would feel.
"""

from __future__ import annotations

import asyncio
import time
from array import array
from collections import Counter, deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from time import perf_counter

import orjson

from cluster.http_client import Connection, HttpError, Target

PAUSE_AFTER_503_S = 0.05
RECONNECT_PAUSE_S = 0.1
TICK_S = 0.001
LAST_ANSWERS_S = 30.0


@dataclass(slots=True)
class Measured:
    """What was counted in the ``seconds`` after the warm-up. ``latencies_s`` are those of all answers."""

    seconds: float
    outcomes: Counter[str] = field(default_factory=Counter)
    latencies_s: array[float] = field(default_factory=lambda: array("d"))
    outcomes_outside: Counter[str] = field(default_factory=Counter)
    cpu_s: float = 0.0
    wall_s: float = 0.0
    unsent: int = 0

    @property
    def enrolled_per_s(self) -> float:
        """Durable enrolments a second."""
        return self.outcomes["enrolled"] / self.seconds


class Load:
    """One run of prepared requests.

    Args:
        target: the server.
        requests: what to send, in order; each is sent once.
        connections: how many.
        warmup_s: answers in this time are not counted: sections are activated in it.
        seconds: how long answers are counted.
        rate: requests a second for an open loop; None for a closed loop.
    """

    def __init__(
        self, target: Target, requests: Sequence[bytes], *, connections: int, warmup_s: float, seconds: float,
        rate: float | None = None,
    ) -> None:  # fmt: skip
        self.target = target
        self.requests = requests
        self.measured = Measured(seconds)
        self._connections = connections
        self._warmup_s = warmup_s
        self._rate = rate
        self._next = 0
        self._due: deque[float] = deque()
        self._idle: list[_Client] = []
        self._clients: list[_Client] = []
        self._from = self._until = 0.0
        self.over = False

    async def run(self) -> Measured:
        """Send, and count."""
        loop = asyncio.get_running_loop()
        self._clients = [_Client(self, loop) for _ in range(self._connections)]
        await asyncio.gather(*(client.connect() for client in self._clients))
        started, cpu = perf_counter(), time.process_time()
        self._from = started + self._warmup_s
        self._until = self._from + self.measured.seconds
        if self._rate is not None:
            self._idle = list(self._clients)
            await self._send_at_rate(started, self._rate)
        else:
            for client in self._clients:
                self.take(client)
            await asyncio.sleep(self._until - perf_counter())
        self.over = True
        self.measured.cpu_s, self.measured.wall_s = time.process_time() - cpu, perf_counter() - started
        await self._last_answers()
        return self.measured

    async def _send_at_rate(self, started: float, rate: float) -> None:
        issued = 0
        while (now := perf_counter()) < self._until:
            due = int((now - started) * rate)
            self._due.extend(started + number / rate for number in range(issued, due))
            issued = due
            while self._due and self._idle:
                self.take(self._idle.pop())
            await asyncio.sleep(TICK_S)
        self.measured.unsent = len(self._due)

    async def _last_answers(self) -> None:
        deadline = perf_counter() + LAST_ANSWERS_S
        while any(client.busy for client in self._clients) and perf_counter() < deadline:
            await asyncio.sleep(0.01)
        for client in self._clients:
            client.close()

    def take(self, client: _Client) -> None:
        """Give ``client`` its next request, or let it rest."""
        if self.over or self._next == len(self.requests):
            return
        if self._rate is None:
            since = perf_counter()
        elif self._due:
            since = self._due.popleft()
        else:
            self._idle.append(client)
            return
        request = self.requests[self._next]
        self._next += 1
        client.send(request, since)

    def count(self, status: int, body: bytes, since: float) -> None:
        """Count an answer."""
        now = perf_counter()
        if status == 201:
            outcome = "enrolled" if b'"enrolled"' in body else "waitlisted"
        else:
            outcome = problem_code(status, body)
        if self._from <= now < self._until:
            self.measured.outcomes[outcome] += 1
            self.measured.latencies_s.append(now - since)
        else:
            self.measured.outcomes_outside[outcome] += 1

    @property
    def ran_out(self) -> bool:
        """Whether there were too few requests for the time."""
        return self._next == len(self.requests)


def problem_code(status: int, body: bytes) -> str:
    """The code of a problem reply."""
    try:
        return str(orjson.loads(body)["code"])
    except (ValueError, KeyError, TypeError):
        return f"http_{status}"


class _Client:
    """One connection and the request that it waits for."""

    __slots__ = ("_connection", "_load", "_loop", "_since", "busy")

    def __init__(self, load: Load, loop: asyncio.AbstractEventLoop) -> None:
        self._load = load
        self._loop = loop
        self._connection: Connection | None = None
        self._since = 0.0
        self.busy = False

    async def connect(self) -> None:
        target = self._load.target
        _, self._connection = await self._loop.create_connection(
            lambda: Connection(self._replied, self._lost), target.host, target.port, ssl=target.tls
        )

    def send(self, request: bytes, since: float) -> None:
        self._since, self.busy = since, True
        try:
            if self._connection is None:
                raise HttpError("not connected")
            self._connection.send(request)
        except HttpError as error:
            self._lost(error)

    def close(self) -> None:
        if self._connection is not None:
            self._connection.close()

    def _replied(self, status: int, _headers: bytes, body: bytes) -> None:
        self.busy = False
        self._load.count(status, body, self._since)
        if status in {429, 503}:
            self._loop.call_later(PAUSE_AFTER_503_S, self._load.take, self)
        else:
            self._load.take(self)

    def _lost(self, _error: Exception | None) -> None:
        if self.busy:
            self.busy = False
            self._load.count(0, b'{"code":"no_answer"}', self._since)
        self._connection = None
        if not self._load.over:
            self._loop.call_later(RECONNECT_PAUSE_S, self._reconnect)

    def _reconnect(self) -> None:
        task = self._loop.create_task(self.connect())
        task.add_done_callback(self._reconnected)

    def _reconnected(self, task: asyncio.Task[None]) -> None:
        if task.cancelled() or task.exception() is not None:
            if not self._load.over:
                self._loop.call_later(RECONNECT_PAUSE_S, self._reconnect)
        else:
            self._load.take(self)
