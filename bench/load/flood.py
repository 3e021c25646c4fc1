"""A load generator for overload: one thread, one epoll, plain sockets.

`bench/load/generator.py` is easier to read and to extend, but sending a request there costs a third of what deciding it
costs the server. Here a request costs little more than its two system calls, so many times the load that fits can be
offered.

A request that was shed goes to the end of the queue and is sent again with the same key, at once or after Retry-After.
Rates are therefore rates of tries.
"""

from __future__ import annotations

import heapq
import random
import select
import socket
import time
from array import array
from collections import Counter, deque
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from time import perf_counter

from cluster.clients.http import HEADERS_END, Target, content_length, get, header

POLL_S = 0.0005
PORTION = 16
"""Requests sent between two polls, so that answers do not wait until many requests have been sent."""
ACCEPT_TIMEOUT_S = 30.0
REPLY_BYTES = 65_536
DECIDED, SHED, LIMITED, UNKNOWN, NO_ANSWER, OTHER = "decided", "shed", "limited", "unknown", "no_answer", "other"
AGAIN = frozenset({SHED, LIMITED, UNKNOWN, NO_ANSWER})


@dataclass(slots=True)
class Phase:
    """The counts of one phase.

    Args:
        seconds: its length.
        offered: tries that were due in it, or sent in it if it was a closed loop.
        answers: answers that arrived in it, by kind.
        decided_s, shed_s: latencies of answers to requests that were due in it, from when they were due.
        decided_since_sent_s, shed_since_sent_s: the same from when they were sent, without the wait for a connection.
        trouble_at_s: when answers arrived that were no decision, from the beginning of the phase.
        unsent: tries that were due, but found no free connection until the end.
        cpu_s: CPU time of this load generator.
    """

    seconds: float
    offered: int = 0
    answers: Counter[str] = field(default_factory=Counter)
    decided_s: array[float] = field(default_factory=lambda: array("d"))
    shed_s: array[float] = field(default_factory=lambda: array("d"))
    decided_since_sent_s: array[float] = field(default_factory=lambda: array("d"))
    shed_since_sent_s: array[float] = field(default_factory=lambda: array("d"))
    trouble_at_s: array[float] = field(default_factory=lambda: array("d"))
    unsent: int = 0
    cpu_s: float = 0.0

    @property
    def goodput_per_s(self) -> float:
        """Decisions a second."""
        return self.answers[DECIDED] / self.seconds


class _Client:
    """One connection and its request under way."""

    __slots__ = ("due", "number", "part", "sent", "socket")

    def __init__(self, opened: socket.socket) -> None:
        self.socket = opened
        self.number = -1
        self.due = self.sent = 0.0
        self.part = b""


class Flood:
    """Sends requests on many connections until each is decided.

    Args:
        target: the server, without TLS.
        requests: each is sent until it is decided.
    """

    def __init__(self, target: Target, requests: Sequence[bytes]) -> None:
        self._target = target
        self._requests = requests
        self._queue = deque(range(len(requests)))
        self._clients: dict[int, _Client] = {}
        self._idle: list[_Client] = []
        self._resting: list[tuple[float, int]] = []
        self._heeding = False
        self._epoll = select.epoll()
        self._phase = Phase(1.0)
        self._began = 0.0

    def connect(self, count: int) -> None:
        """Open connections until there are ``count``, and wait until the server has accepted them.

        Connections are accepted in order, so an answer on the last one means that all are. Otherwise the first requests
        would wait while the server accepts thousands of connections, which is no part of the overload.

        Raises:
            TimeoutError: if the server does not answer.
            ConnectionError: if the server closes the last connection.
        """
        if len(self._clients) >= count:
            return
        while len(self._clients) < count:
            self._open()
        last = self._idle[-1].socket
        last.settimeout(ACCEPT_TIMEOUT_S)
        last.send(get(self._target, "/health"))
        answer = b""
        while (end := answer.find(HEADERS_END)) < 0 or len(answer) < end + 4 + content_length(answer, end):
            data = last.recv(REPLY_BYTES)
            if not data:
                raise ConnectionError("the server closed a connection that it had accepted")
            answer += data
        last.setblocking(False)

    def run(self, seconds: float, rate: float | None = None, *, heeding: bool = False) -> Phase:
        """Offer load for ``seconds``.

        Args:
            seconds: length of the phase.
            rate: tries a second of an open loop; None for a closed loop, in which every connection sends its next
                request when it has the answer to the one before.
            heeding: whether a connection whose request was shed waits for Retry-After.
        """
        self._heeding = heeding
        phase = self._phase = Phase(seconds)
        cpu, self._began = time.thread_time(), perf_counter()
        until = self._began + seconds
        due: deque[float] = deque()
        while (now := perf_counter()) < until:
            if rate is None:
                due.extend([now] * (len(self._idle) - len(due)))
            else:
                total = int((now - self._began) * rate)
                due.extend(self._began + number / rate for number in range(phase.offered, total))
                phase.offered = total
            for _ in range(PORTION):
                if not (due and self._idle and self._queue):
                    break
                self._send(self._idle.pop(), due.popleft())
            self._wake(now)
            is_behind = due and self._idle and self._queue
            for descriptor, _ in self._epoll.poll(0 if is_behind else POLL_S):
                self._receive(self._clients[descriptor])
        if rate is None:
            phase.offered = phase.answers.total()
        else:
            phase.unsent = len(due)
        self._wake(float("inf"))
        phase.cpu_s = time.thread_time() - cpu
        return phase

    @property
    def ran_out(self) -> bool:
        """Whether every request was decided before the time was over."""
        return not self._queue

    def close(self) -> None:
        """Close all connections."""
        for client in self._clients.values():
            client.socket.close()
        self._epoll.close()

    def _open(self) -> None:
        opened = socket.create_connection((self._target.host, self._target.port))
        opened.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        opened.setblocking(False)
        client = self._clients[opened.fileno()] = _Client(opened)
        self._epoll.register(opened.fileno(), select.EPOLLIN)
        self._idle.append(client)

    def _send(self, client: _Client, due: float) -> None:
        client.number = self._queue.popleft()
        client.due, client.sent = due, perf_counter()
        try:
            client.socket.send(self._requests[client.number])  # far less than a socket buffer
        except OSError:
            self._lost(client)

    def _receive(self, client: _Client) -> None:
        try:
            data = client.socket.recv(REPLY_BYTES)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            self._lost(client)
            return
        data = client.part + data
        end = data.find(HEADERS_END)
        if end < 0 or len(data) < end + 4 + content_length(data, end):
            client.part = data
            return
        client.part = b""
        kind = _kind_of(data)
        self._count(client, kind)
        wait_s = float(header(data[:end], b"retry-after") or 0) if self._heeding and kind in AGAIN else 0.0
        if wait_s:
            until = perf_counter() + wait_s * random.uniform(1.0, 1.4)
            heapq.heappush(self._resting, (until, client.socket.fileno()))
        else:
            self._idle.append(client)

    def _wake(self, now: float) -> None:
        while self._resting and self._resting[0][0] <= now:
            client = self._clients.get(heapq.heappop(self._resting)[1])
            if client is not None and client not in self._idle:
                self._idle.append(client)

    def _count(self, client: _Client, kind: str) -> None:
        phase, now = self._phase, perf_counter()
        phase.answers[kind] += 1
        is_of_this_phase = client.due >= self._began
        if kind == DECIDED:
            if is_of_this_phase:
                phase.decided_s.append(now - client.due)
                phase.decided_since_sent_s.append(now - client.sent)
            return
        phase.trouble_at_s.append(now - self._began)
        if kind in {SHED, LIMITED} and is_of_this_phase:
            phase.shed_s.append(now - client.due)
            phase.shed_since_sent_s.append(now - client.sent)
        if kind in AGAIN:
            self._queue.append(client.number)

    def _lost(self, client: _Client) -> None:
        descriptor = client.socket.fileno()
        self._epoll.unregister(descriptor)
        del self._clients[descriptor]
        client.socket.close()
        if client in self._idle:
            self._idle.remove(client)
        else:
            self._count(client, NO_ANSWER)
        with suppress(OSError):
            self._open()


def _kind_of(reply: bytes) -> str:
    match reply[9:12]:
        case b"201":
            return DECIDED
        case b"429":
            return LIMITED
        case b"503":
            return UNKNOWN if b'"outcome_unknown"' in reply else SHED
        case _:
            return OTHER
