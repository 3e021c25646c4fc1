"""The load generator: no request is sent twice, and latencies count from when a request was due."""

from __future__ import annotations

import asyncio
from collections import Counter

import pytest

from bench.live.requests import BLOCK_STUDENTS, SECTIONS_PER_STUDENT, pairs, students_needed
from bench.load.generator import LoadGenerator
from bench.load.measured import encoded, histogram, merged, percentiles_ms
from cluster.clients.http import Target, get, post

REPLY = b'HTTP/1.1 201 Created\r\nContent-Length: 21\r\n\r\n{"status":"enrolled"}'
READ = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}"


@pytest.mark.parametrize(("sections", "skew"), [(1, 0.0), (3, 1.3), (100, 0.0), (100, 1.3)])
def test_no_pair_comes_twice(sections: int, skew: float) -> None:
    students = students_needed(4000, sections)
    made = list(pairs(students, sections, skew, 1))
    assert len(made) == len(set(made)) >= 4000
    assert made == list(pairs(students, sections, skew, 1))
    assert max(Counter(student for student, _ in made).values()) == min(SECTIONS_PER_STUDENT, sections)


def test_a_student_has_one_request_under_way() -> None:
    made = [student for student, _ in pairs(2 * BLOCK_STUDENTS, 100, 0.0, 1)]
    for at in range(0, len(made) - BLOCK_STUDENTS, 97):
        assert len(set(made[at : at + BLOCK_STUDENTS])) == BLOCK_STUDENTS


def test_skew_makes_the_first_sections_hot() -> None:
    count = Counter(section for _, section in pairs(5120, 100, 1.3, 1))
    assert count[0] > 5 * count[20]


@pytest.mark.parametrize("rate", [None, 200.0])
async def test_it_counts_what_comes_back(rate: float | None) -> None:
    class Server(asyncio.Protocol):
        def connection_made(self, transport: asyncio.BaseTransport) -> None:
            self.transport = transport

        def data_received(self, data: bytes) -> None:
            later = asyncio.get_running_loop().call_later
            later(0.005, self.transport.write, REPLY)  # type: ignore[attr-defined]

    server = await asyncio.get_running_loop().create_server(Server, "127.0.0.1", 0)
    async with server:
        target = Target.of(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}")
        load = LoadGenerator(
            target,
            [post(target, "/", "token", "key", b"{}")] * 5000,
            connections=4,
            warmup_s=0.1,
            seconds=0.5,
            rate=rate,
        )
        measured = await load.run()
    counted = measured.outcomes["enrolled"]
    assert set(measured.outcomes) == {"enrolled"}
    assert len(measured.latencies_s) == counted
    assert min(measured.latencies_s) >= 0.004
    assert counted <= (rate or 800) * 0.5 * 1.1
    assert counted >= 50


async def test_an_open_loop_counts_from_when_a_request_was_due() -> None:
    class Slow(asyncio.Protocol):
        def connection_made(self, transport: asyncio.BaseTransport) -> None:
            self.transport = transport

        def data_received(self, data: bytes) -> None:
            later = asyncio.get_running_loop().call_later
            later(0.05, self.transport.write, REPLY)  # type: ignore[attr-defined]

    server = await asyncio.get_running_loop().create_server(Slow, "127.0.0.1", 0)
    async with server:
        target = Target.of(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}")
        load = LoadGenerator(
            target, [post(target, "/", "token", "key", b"{}")] * 5000, connections=1, warmup_s=0, seconds=0.6, rate=100
        )
        measured = await load.run()
    assert max(measured.latencies_s) > 0.3  # one connection takes 20 a second of 100: the queue is in the latency
    assert measured.unsent > 20


async def test_it_ends_when_the_requests_have_run_out_and_counts_reads_apart() -> None:
    class Server(asyncio.Protocol):
        def connection_made(self, transport: asyncio.BaseTransport) -> None:
            self.transport = transport

        def data_received(self, data: bytes) -> None:
            self.transport.write(REPLY if data.startswith(b"POST") else READ)  # type: ignore[attr-defined]

    server = await asyncio.get_running_loop().create_server(Server, "127.0.0.1", 0)
    async with server:
        target = Target.of(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}")
        requests = [post(target, "/", "token", "key", b"{}")] * 30 + [get(target, "/")] * 20
        load = LoadGenerator(
            target, requests, connections=4, warmup_s=0, seconds=20, arrivals=[0.001 * n for n in range(50)]
        )
        measured = await load.run()
    assert load.ran_out
    assert measured.seconds < 10
    assert measured.outcomes == {"enrolled": 30, "ok": 20}
    assert (len(measured.latencies_s), len(measured.reads_s)) == (30, 20)


def test_rounds_merge_into_one_histogram() -> None:
    slow, fast = histogram([0.1] * 10), histogram([0.001] * 990)
    both = percentiles_ms(merged([encoded(slow), encoded(fast)]))
    assert both["p50"] == pytest.approx(1.0, rel=0.01)
    assert both["p99.9"] == pytest.approx(100.0, rel=0.01)


async def test_a_source_that_waits_for_answers_does_not_stop_an_open_loop() -> None:
    class OneByOne:
        """Gives a request only when the one before was answered."""

        def __init__(self) -> None:
            self.left, self.under_way = 10, False

        @property
        def exhausted(self) -> bool:
            return self.left == 0 and not self.under_way

        def take(self) -> tuple[int, bytes] | None:
            if self.under_way or not self.left:
                return None
            self.left, self.under_way = self.left - 1, True
            return self.left, post(target, "/", "token", "key", b"{}")

        def answered(self, number: int, status: int, body: bytes) -> None:
            self.under_way = False

    class Server(asyncio.Protocol):
        def connection_made(self, transport: asyncio.BaseTransport) -> None:
            self.transport = transport

        def data_received(self, data: bytes) -> None:
            later = asyncio.get_running_loop().call_later
            later(0.005, self.transport.write, REPLY)  # type: ignore[attr-defined]

    server = await asyncio.get_running_loop().create_server(Server, "127.0.0.1", 0)
    async with server:
        target = Target.of(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}")
        load = LoadGenerator(target, OneByOne(), connections=4, warmup_s=0, seconds=20, arrivals=[0.0] * 10)
        measured = await load.run()
    assert measured.outcomes == {"enrolled": 10}
    assert measured.seconds < 10
