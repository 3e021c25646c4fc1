"""The load generator: many connections in one process, each with one request under way.

Closed loop: a connection sends its next request when it has the answer to the one before. This measures the throughput
at saturation. Open loop: requests are due at times that were fixed before, whatever the server does, and latency counts
from when a request was due, not from when a connection was free for it. This measures what students would experience.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Iterator, Sequence
from itertools import count
from time import perf_counter

from bench.load.measured import Measured, outcome_of
from bench.load.sources import PreparedRequests, Source
from cluster.clients.http import Connection, HttpError, Target

PAUSE_AFTER_503_S = 0.05
RECONNECT_PAUSE_S = 0.1
TICK_S = 0.001
WATCH_S = 0.02
LAST_ANSWERS_S = 30.0
GET = ord("G")


class LoadGenerator:
    """One run of load. It ends after its time, or when all its requests are answered.

    Args:
        target: the server.
        requests: to send in order, each once; or a source of requests.
        connections: how many.
        warmup_s: how long answers are not counted at first, while sections are activated.
        seconds: how long answers are counted then.
        rate: requests a second for an open loop at a constant rate; None for a closed loop.
        arrivals: seconds after the start at which requests are due, rising, for an open loop of any shape.
    """

    def __init__(
        self, target: Target, requests: Sequence[bytes] | Source, *, connections: int, warmup_s: float, seconds: float,
        rate: float | None = None, arrivals: Sequence[float] | None = None,
    ) -> None:  # fmt: skip
        self.target = target
        self.measured = Measured(seconds)
        self.over = False
        self._source: Source = PreparedRequests(requests) if isinstance(requests, Sequence) else requests
        self._connections = connections
        self._warmup_s = warmup_s
        self._arrivals = _arrivals(rate, arrivals)
        self._due: deque[float] = deque()
        self._idle: list[_Client] = []
        self._clients: list[_Client] = []
        self._under_way = 0
        self._from = self._until = self._last_answer = 0.0

    @property
    def ran_out(self) -> bool:
        """Whether there were too few requests for the time."""
        return self._source.exhausted

    async def run(self) -> Measured:
        """Send the load; what was measured."""
        loop = asyncio.get_running_loop()
        self._clients = [_Client(self, loop) for _ in range(self._connections)]
        await asyncio.gather(*(client.connect() for client in self._clients))
        started, cpu = perf_counter(), time.process_time()
        self._from = started + self._warmup_s
        self._until = self._from + self.measured.seconds
        if self._arrivals is not None:
            self._idle = list(self._clients)
            await self._send_as_due(started, self._arrivals)
        else:
            for client in self._clients:
                self.take(client)
            while perf_counter() < self._until and not self._done:
                await asyncio.sleep(min(WATCH_S, max(0.0, self._until - perf_counter())))
        self.over = True
        if self._done and self._last_answer < self._until:
            self.measured.seconds = max(0.0, self._last_answer - self._from)
        self.measured.cpu_s, self.measured.wall_s = time.process_time() - cpu, perf_counter() - started
        await self._last_answers()
        return self.measured

    async def _send_as_due(self, started: float, arrivals: Iterator[float]) -> None:
        upcoming = next(arrivals, None)
        while (now := perf_counter()) < self._until and not (upcoming is None and not self._due and self._done):
            while upcoming is not None and started + upcoming <= now:
                self._due.append(started + upcoming)
                upcoming = next(arrivals, None)
            while self._due and self._idle and self.take(self._idle.pop()):
                pass
            if self._source.exhausted:
                self._due.clear()
                upcoming = None
            await asyncio.sleep(TICK_S)
        self.measured.unsent = len(self._due)

    @property
    def _done(self) -> bool:
        return self._under_way == 0 and (self._source.exhausted or self._arrivals is not None)

    async def _last_answers(self) -> None:
        deadline = perf_counter() + LAST_ANSWERS_S
        while self._under_way and perf_counter() < deadline:
            await asyncio.sleep(0.01)
        for client in self._clients:
            client.close()

    def take(self, client: _Client) -> bool:
        """Send the next request on ``client``; False if there is none, and the client is idle now."""
        if self.over:
            return False
        if self._arrivals is not None and not self._due:
            self._idle.append(client)
            return False
        request = self._source.take()
        if request is None:
            self._idle.append(client)
            return False
        since = perf_counter() if self._arrivals is None else self._due.popleft()
        if self._from <= since < self._until:
            self.measured.offered += 1
        self._under_way += 1
        client.send(*request, since)
        return True

    def count(self, client: _Client, status: int, body: bytes) -> None:
        """Count the answer to the request of ``client``; status 0 if there was none."""
        now = perf_counter()
        measured = self.measured
        self._under_way -= 1
        self._last_answer = now
        outcome = outcome_of(status, body)
        if self._from <= now < self._until:
            measured.outcomes[outcome] += 1
            (measured.reads_s if client.reading else measured.latencies_s).append(now - client.since)
        else:
            measured.outcomes_outside[outcome] += 1
        self._source.answered(client.number, status, body)
        if self._idle and self._arrivals is None:
            self.take(self._idle.pop())


def _arrivals(rate: float | None, arrivals: Sequence[float] | None) -> Iterator[float] | None:
    if arrivals is not None:
        return iter(arrivals)
    return None if rate is None else (number / rate for number in count())


class _Client:
    """One connection and the request that it waits for."""

    __slots__ = ("_connection", "_load", "_loop", "busy", "number", "reading", "since")

    def __init__(self, load: LoadGenerator, loop: asyncio.AbstractEventLoop) -> None:
        self._load = load
        self._loop = loop
        self._connection: Connection | None = None
        self.number = 0
        self.since = 0.0
        self.reading = False
        self.busy = False

    async def connect(self) -> None:
        target = self._load.target
        _, self._connection = await self._loop.create_connection(
            lambda: Connection(self._replied, self._lost), target.host, target.port, ssl=target.tls
        )

    def send(self, number: int, request: bytes, since: float) -> None:
        self.number, self.since, self.reading, self.busy = number, since, request[0] == GET, True
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
        self._load.count(self, status, body)
        if status in {429, 503}:
            self._loop.call_later(PAUSE_AFTER_503_S, self._load.take, self)
        else:
            self._load.take(self)

    def _lost(self, _error: Exception | None) -> None:
        if self.busy:
            self.busy = False
            self._load.count(self, 0, b"")
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
