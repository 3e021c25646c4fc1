"""The circuit breaker around Redis, with a clock that the test controls."""

from __future__ import annotations

import asyncio
import logging

import pytest
from redis.asyncio import Redis
from redis.exceptions import ConnectionError as RedisConnectionError

from persistence.redis.breaker import PAUSE_MAX_S, RedisAwayError, RedisBreaker


class FakeTime:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


async def answer(_: Redis) -> str:
    return "pong"


async def fail(_: Redis) -> str:
    raise RedisConnectionError("refused")


async def hang(_: Redis) -> str:
    await asyncio.sleep(60)
    return "late"


def make(time: FakeTime) -> RedisBreaker:
    return RedisBreaker("redis://127.0.0.1:1", "tests", timeout_s=0.02, monotonic=time)


async def test_after_a_failure_nobody_is_let_through_for_a_while() -> None:
    time = FakeTime()
    breaker = make(time)
    assert await breaker.call(answer) == "pong"
    with pytest.raises(RedisAwayError):
        await breaker.call(fail)
    with pytest.raises(RedisAwayError):
        await breaker.call(answer)
    time.now += 0.11
    assert await breaker.call(answer) == "pong"
    assert not breaker.is_away


async def test_a_slow_answer_is_a_failure() -> None:
    breaker = make(FakeTime())
    started = asyncio.get_running_loop().time()
    with pytest.raises(RedisAwayError):
        await breaker.call(hang)
    assert asyncio.get_running_loop().time() - started < 0.2
    assert breaker.is_away


async def test_the_pause_grows_to_its_maximum_and_no_further() -> None:
    time = FakeTime()
    breaker = make(time)
    pauses = []
    for _ in range(8):
        with pytest.raises(RedisAwayError):
            await breaker.call(fail)
        start = time.now
        while time.now < breaker._breaker.closed_until:
            time.now += 0.01
        pauses.append(time.now - start)
    assert pauses == sorted(pauses)
    assert pauses[0] == pytest.approx(0.1, abs=0.02)
    assert pauses[-1] == pytest.approx(PAUSE_MAX_S, abs=0.02)


async def test_one_outage_is_one_line_in_the_log(caplog: pytest.LogCaptureFixture) -> None:
    time = FakeTime()
    breaker = make(time)
    with caplog.at_level(logging.INFO):
        for _ in range(5):
            with pytest.raises(RedisAwayError):
                await breaker.call(fail)
            time.now += 3
        await breaker.call(answer)
    assert [record.levelname for record in caplog.records] == ["WARNING", "INFO"]


async def test_failures_at_once_count_as_one() -> None:
    time = FakeTime()
    breaker = make(time)
    await asyncio.gather(*(breaker.call(hang) for _ in range(20)), return_exceptions=True)
    time.now += 0.11
    assert await breaker.call(answer) == "pong"


async def test_one_probe_at_a_time() -> None:
    time = FakeTime()
    breaker = make(time)
    with pytest.raises(RedisAwayError):
        await breaker.call(fail)
    time.now += 0.11
    tried = 0

    async def count(_: Redis) -> None:
        nonlocal tried
        tried += 1
        await asyncio.sleep(0.005)

    results = await asyncio.gather(*(breaker.call(count) for _ in range(10)), return_exceptions=True)
    assert tried == 1
    assert sum(isinstance(result, RedisAwayError) for result in results) == 9
