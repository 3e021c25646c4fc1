"""The bare HTTP client and registrations sent with it, against a server that misbehaves on purpose."""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Callable

import pytest

from cluster.clients import registrations as registrations_module
from cluster.clients.http import AsyncConnection, HttpError, HttpReply, Target, get, header
from cluster.clients.latency import summary_ms
from cluster.clients.registrations import Registration, is_up, outcome_of, send_registrations
from cluster.clients.retry_budget import RetryBudget

Answer = Callable[[str, int], bytes | None]
"""From (Idempotency-Key, how often it was seen) to the bytes of a reply; None drops the connection."""


def http(status: int, body: str, extra: str = "") -> bytes:
    return f"HTTP/1.1 {status} X\r\n{extra}content-length: {len(body)}\r\n\r\n{body}".encode()


ENROLLED = http(201, '{"id":1,"status":"enrolled"}', "Content-Type: application/json\r\n")


@contextlib.asynccontextmanager
async def server(answer: Answer, *, chunked: bool = False) -> AsyncIterator[Target]:
    seen: Counter[str] = Counter()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                length = header(head, b"content-length")
                await reader.readexactly(int(length or 0))
                key = (header(head, b"idempotency-key") or b"").decode()
                seen[key] += 1
                reply = answer(key, seen[key])
                if reply is None:
                    break
                for part in [reply[i : i + 7] for i in range(0, len(reply), 7)] if chunked else [reply]:
                    writer.write(part)
                    await asyncio.sleep(0)
        writer.close()

    listening = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with listening:
        yield Target.of(f"http://127.0.0.1:{listening.sockets[0].getsockname()[1]}")


@pytest.fixture(autouse=True)
def no_long_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registrations_module, "PAUSE_FIRST_S", 0.001)
    monkeypatch.setattr(registrations_module, "TRIES_MAX", 4)


async def test_every_wish_is_sent_once_and_counted() -> None:
    keys: set[str] = set()

    def answer(key: str, _seen: int) -> bytes:
        keys.add(key)
        return ENROLLED

    async with server(answer) as target:
        report = await send_registrations(target, [Registration("t", number) for number in range(100)], 8, 1)
    assert report.outcomes == {"enrolled": 100}
    assert len(keys) == 100
    assert (report.retries, len(report.latencies_s), report.answered) == (0, 100, True)
    assert report.as_json()["requests"] == 100


async def test_it_is_sent_again_with_the_same_key() -> None:
    seen_by_key: dict[str, int] = defaultdict(int)

    def answer(key: str, seen: int) -> bytes | None:
        seen_by_key[key] = seen
        return {
            1: http(503, '{"code":"outcome_unknown"}', "Retry-After: 0\r\n"),
            2: None,
            3: http(429, '{"code":"rate_limited"}'),
        }.get(seen, http(409, '{"code":"schedule_conflict"}'))

    async with server(answer) as target:
        report = await send_registrations(target, [Registration("t", number) for number in range(5)], 2, 1)
    assert report.outcomes == {"schedule_conflict": 5}
    assert set(seen_by_key.values()) == {4}
    assert report.retries == 15


async def test_it_gives_up_in_the_end() -> None:
    async with server(lambda _key, _seen: None) as target:
        report = await send_registrations(target, [Registration("t", 1)], 1, 1)
    assert report.outcomes == {"no_answer": 1}
    assert not report.answered


@pytest.mark.parametrize("chunked", [False, True])
async def test_a_reply_may_come_in_pieces(chunked: bool) -> None:
    async with server(lambda _key, _seen: ENROLLED, chunked=chunked) as target:
        connection = AsyncConnection(target)
        replies = [await connection.exchange(get(target, "/"), 2.0) for _ in range(3)]
        connection.close()
    assert {outcome_of(reply) for reply in replies} == {"enrolled"}


@pytest.mark.parametrize("rubbish", [b"HTTP/1.1 200 OK\r\n\r\n", b"SSH-2.0-x\r\n\r\n\r\n", b"x" * (2 << 20)])
async def test_what_is_not_understood_is_an_error(rubbish: bytes) -> None:
    async with server(lambda _key, _seen: rubbish) as target:
        with pytest.raises(HttpError):
            await AsyncConnection(target).exchange(get(target, "/"), 2.0)


async def test_nobody_there_and_somebody_silent() -> None:
    async with server(lambda _key, _seen: http(200, "{}")) as target:
        assert await is_up(target)
    assert not await is_up(target)
    async with server(lambda _key, _seen: b"HTTP/1.1 200") as target:
        with pytest.raises(TimeoutError):
            await AsyncConnection(target).exchange(get(target, "/"), 0.05)


@pytest.mark.parametrize("url", ["ftp://x", "localhost:80", "http://", ""])
def test_what_is_not_an_address_is_refused(url: str) -> None:
    with pytest.raises(ValueError, match="is not an"):
        Target.of(url)


def test_outcomes() -> None:
    assert outcome_of(HttpReply(201, b"", b'{"status":"waitlisted"}')) == "waitlisted"
    assert outcome_of(HttpReply(409, b"", b'{"code":"credit_limit"}')) == "credit_limit"
    assert outcome_of(HttpReply(502, b"", b"<html>")) == "http_502"
    assert HttpReply(503, b"HTTP/1.1 503 X\r\nRetry-After: 2", b"").retry_after_s == 2.0


def test_percentiles_are_ranks_of_the_samples() -> None:
    found = summary_ms(number / 1000 for number in range(1, 1001))
    assert found == {"p50": 500.0, "p95": 950.0, "p99": 990.0, "p99.9": 999.0, "max": 1000.0}
    assert summary_ms([]) == {}
    assert summary_ms([0.002]) == dict.fromkeys(("p50", "p95", "p99", "p99.9", "max"), 2.0)


def test_retries_are_a_share_of_first_tries_and_a_trickle() -> None:
    at = 0.0
    budget = RetryBudget(0.2, per_s=10.0, reserve=5.0, now=lambda: at)
    assert [budget.retry() for _ in range(5)] == [0.0] * 5
    assert [budget.retry() for _ in range(3)] == [pytest.approx(0.1), pytest.approx(0.2), pytest.approx(0.3)]
    at = 0.3
    for _ in range(100):
        budget.first_try()
    assert [budget.retry() for _ in range(5)] == [0.0] * 5, "saved up to the reserve, no further"
    assert budget.retry() > 0.0


async def test_a_server_that_turns_everybody_away_is_not_stormed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registrations_module, "PAUSE_FIRST_S", 0.001)
    monkeypatch.setattr(registrations_module, "TRIES_MAX", 4)
    monkeypatch.setattr(registrations_module, "RetryBudget", lambda: RetryBudget(0.1, per_s=1000.0, reserve=1.0))
    tries: list[float] = []

    def overloaded(_key: str, _seen: int) -> bytes:
        tries.append(asyncio.get_running_loop().time())
        return http(503, '{"code":"overloaded"}')

    async with server(overloaded) as target:
        report = await send_registrations(target, [Registration("t", 1)] * 50, 50, 1)
    assert report.outcomes == {"overloaded": 50}
    assert len(tries) == 200
    # 150 retries and one after the last try of each: 200 out of a budget of 1,000 a second, whatever the pauses were.
    assert tries[-1] - tries[0] >= 0.1


async def test_what_the_server_asks_to_wait_is_waited() -> None:
    answers: list[float] = []

    def busy_once(_key: str, seen: int) -> bytes:
        answers.append(asyncio.get_running_loop().time())
        return ENROLLED if seen == 2 else http(503, '{"code":"overloaded"}', "Retry-After: 1\r\n")

    async with server(busy_once) as target:
        report = await send_registrations(target, [Registration("t", 1)], 1, 1)
    assert report.outcomes == {"enrolled": 1}
    assert answers[1] - answers[0] >= 1.0
