"""Leases, caches and rate limits on a real Valkey, and without one."""

from __future__ import annotations

import asyncio
import time
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import msgspec
import pytest
from redis import Redis as SyncRedis
from redis.asyncio import Redis

from allocator.ports import Committed
from persistence.caches.announcer import RedisAnnouncer
from persistence.caches.cached_reads import CachedReads
from persistence.caches.keys import COURSES, ENROLLMENTS, TOMBSTONE
from persistence.redis import gcra
from persistence.redis.breaker import TIMEOUT_S
from persistence.redis.lease import RedisLease, dead_key
from persistence.redis.rate_limit import RedisRateLimiter

pytestmark = pytest.mark.services

PATIENT_S = 2.0
"""The machine that runs the tests may be busy; only what is about a Redis that is away uses the real timeout."""

NOWHERE = "redis://127.0.0.1:1/0"


@asynccontextmanager
async def leasing(
    redis_url: str, actor: str, incarnation: str = "1", ttl_ms: int = 5000, timeout_s: float = PATIENT_S
) -> AsyncIterator[RedisLease]:
    lease = RedisLease(redis_url, actor, incarnation, ttl_ms, timeout_s=timeout_s)
    await lease.start()
    try:
        yield lease
    finally:
        await lease.close()


@asynccontextmanager
async def caching(redis_url: str, timeout_s: float = PATIENT_S) -> AsyncIterator[CachedReads]:
    caches = CachedReads(redis_url, timeout_s=timeout_s)
    try:
        yield caches
    finally:
        await caches.close()


@asynccontextmanager
async def announcing(redis_url: str, timeout_s: float = PATIENT_S) -> AsyncIterator[RedisAnnouncer]:
    announcer = RedisAnnouncer(redis_url, timeout_s=timeout_s)
    try:
        yield announcer
    finally:
        await announcer.close()


@asynccontextmanager
async def silent_server() -> AsyncIterator[str]:
    """The URL of a Redis that takes connections and never answers."""

    async def ignore(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()

    server = await asyncio.start_server(ignore, "127.0.0.1", 0)
    host, port = server.sockets[0].getsockname()[:2]
    try:
        yield f"redis://{host}:{port}/0"
    finally:
        server.close()


class Loader:
    """Counts its loads; each takes a moment."""

    def __init__(self, value: bytes = b'{"seats": 1}', delay_s: float = 0.02) -> None:
        self.value = value
        self.delay_s = delay_s
        self.loads = 0

    async def __call__(self) -> bytes:
        self.loads += 1
        value = self.value
        await asyncio.sleep(self.delay_s)
        return value


# Lease


async def test_a_living_actor_keeps_its_sections(redis: Redis, redis_url: str) -> None:
    async with leasing(redis_url, "actor-a") as one, leasing(redis_url, "actor-b") as two:
        assert await one.acquire([1, 2, 3]) == {}
        assert await two.acquire([2, 3, 4]) == {2: "actor-a", 3: "actor-a"}
        assert await one.acquire([1, 4]) == {4: "actor-b"}
        assert await redis.get("lease:section:1") == b"actor-a|1"


async def test_a_new_incarnation_takes_over_at_once(redis: Redis, redis_url: str) -> None:
    async with leasing(redis_url, "actor-a", "1") as old, leasing(redis_url, "actor-a", "2") as new:
        assert await old.acquire([1]) == {}
        assert await new.acquire([1]) == {}
        assert await redis.get("lease:section:1") == b"actor-a|2"
        await old.release([1])
        assert await redis.get("lease:section:1") == b"actor-a|2"


async def test_a_dead_actor_loses_its_sections(redis: Redis, redis_url: str) -> None:
    dead = RedisLease(redis_url, "actor-a", "1", ttl_ms=100, timeout_s=PATIENT_S)
    await dead.acquire([1])  # never started: no heartbeat
    async with leasing(redis_url, "actor-b") as other:
        assert await other.acquire([1]) == {1: "actor-a"}
        await asyncio.sleep(0.15)
        assert await other.acquire([1]) == {}
    await dead.close()


async def test_an_actor_that_was_given_up_loses_its_sections_though_it_lives(redis: Redis, redis_url: str) -> None:
    async with leasing(redis_url, "actor-a") as first, leasing(redis_url, "actor-b") as second:
        assert await first.acquire([1, 2]) == {}
        assert await second.acquire([1]) == {1: "actor-a"}
        await redis.set(dead_key("actor-a"), b"1")
        assert await second.acquire([1]) == {}
        assert await first.acquire([1, 2]) == {1: "actor-b"}


async def test_the_heart_keeps_beating(redis: Redis, redis_url: str) -> None:
    async with leasing(redis_url, "actor-a", ttl_ms=150) as one, leasing(redis_url, "actor-b") as two:
        await one.acquire([1])
        await asyncio.sleep(0.4)
        assert await two.acquire([1]) == {1: "actor-a"}


async def test_closing_ends_all_leases_at_once(redis: Redis, redis_url: str) -> None:
    async with leasing(redis_url, "actor-b") as other:
        async with leasing(redis_url, "actor-a") as one:
            await one.acquire([1, 2])
        assert await other.acquire([1, 2]) == {}


async def test_release_gives_back_only_what_is_mine(redis: Redis, redis_url: str) -> None:
    async with leasing(redis_url, "actor-a") as one, leasing(redis_url, "actor-b") as two:
        await one.acquire([1, 2])
        await two.release([1, 2])
        assert await two.acquire([1]) == {1: "actor-a"}
        await one.release([1])
        assert await two.acquire([1, 2]) == {2: "actor-a"}


async def test_many_sections_in_few_calls(redis: Redis, redis_url: str) -> None:
    ids = list(range(1, 10_001))
    async with leasing(redis_url, "actor-a") as one, leasing(redis_url, "actor-b") as two:
        assert await one.acquire(ids[:5000]) == {}
        held = await two.acquire(ids)
        assert held == dict.fromkeys(ids[:5000], "actor-a")
        await one.release(ids)
        assert await two.acquire(ids) == {}
        assert await one.acquire([]) == {}


async def test_a_flushed_redis_is_no_trouble(redis: Redis, redis_url: str) -> None:
    async with leasing(redis_url, "actor-a", ttl_ms=150) as one:
        await one.acquire([1])
        await redis.flushall()
        await asyncio.sleep(0.1)
        assert await redis.exists("alive:actor-a:1") == 1
        assert await one.acquire([1]) == {}


@pytest.mark.parametrize("silent", [False, True])
async def test_without_redis_everything_is_mine_and_quickly(silent: bool) -> None:
    async with silent_server() as deaf, leasing(deaf if silent else NOWHERE, "actor-a", timeout_s=TIMEOUT_S) as lease:
        for _ in range(20):
            started = time.monotonic()
            assert await lease.acquire([1, 2]) == {}
            await lease.release([1])
            assert time.monotonic() - started < 0.4


async def test_what_could_not_be_released_is_released_by_the_heart(redis: Redis, redis_url: str) -> None:
    async with leasing(redis_url, "actor-a", ttl_ms=300, timeout_s=TIMEOUT_S) as one:
        await one.acquire([1, 2])
        await redis.client_pause(150)
        assert not await one.release([1, 2])
        await asyncio.sleep(0.5)
        assert await redis.exists("lease:section:1", "lease:section:2") == 0
        assert await one.release([1, 2])


async def test_a_farewell_that_is_not_heard_is_said_again(redis: Redis, redis_url: str) -> None:
    async with leasing(redis_url, "actor-a", timeout_s=TIMEOUT_S) as one:
        await one.acquire([1])
        await redis.client_pause(150)
    assert await redis.exists("alive:actor-a:1") == 0


def test_names_that_cannot_be_told_apart_are_refused() -> None:
    with pytest.raises(ValueError, match="may contain"):
        RedisLease(NOWHERE, "a|b", "1")


async def test_a_lease_of_an_actor_that_does_not_exist_is_none(redis: Redis, redis_url: str) -> None:
    asked: list[str] = []

    async def exists(name: str) -> bool:
        asked.append(name)
        return name == "actor-b"

    for number, ghost in enumerate([b"ghost", b"\xff\xfe", b"sections-gone-0"], 1):
        await redis.set(f"lease:section:{number}", ghost + b"|x")
        await redis.set(b"alive:" + ghost + b":x", b"1")
    one = RedisLease(redis_url, "actor-a", "1", exists=exists, timeout_s=PATIENT_S)
    async with leasing(redis_url, "actor-b") as other:
        await other.acquire([4])
        assert await one.acquire([1, 2, 3, 4]) == {4: "actor-b"}
        assert [await redis.get(f"lease:section:{number}") for number in (1, 2, 3)] == [b"actor-a|1"] * 3

        del asked[:]
        assert await one.acquire([4]) == {4: "actor-b"}
        assert asked == [], "who exists is not looked up for every request that is sent around"
    await one.close()


async def test_a_value_that_is_no_lease_is_none(redis: Redis, redis_url: str) -> None:
    for number, junk in enumerate([b"", b"|", b"x", b"actor-b", b"\x00|\xff", b"a|b|c", b"x" * 100_000], 1):
        await redis.set(f"lease:section:{number}", junk)
    await redis.lpush("lease:section:8", "a list")
    async with leasing(redis_url, "actor-a") as one, leasing(redis_url, "actor-b") as two:
        assert await one.release(range(1, 9)), "junk of another type is no outage"
        assert await one.acquire(range(1, 9)) == {}
        assert await two.acquire(range(1, 9)) == dict.fromkeys(range(1, 9), "actor-a")


# Caches


async def test_the_second_reader_hits(redis: Redis, redis_url: str) -> None:
    load = Loader()
    async with caching(redis_url) as caches, caching(redis_url) as elsewhere:
        assert await caches.get_or_load(f"{ENROLLMENTS}1", 30, load, bytes) == load.value
        assert await elsewhere.get_or_load(f"{ENROLLMENTS}1", 30, load, bytes) == load.value
        assert (load.loads, caches.hits, caches.misses, elsewhere.hits) == (1, 0, 1, 1)
        assert 27_000 <= await redis.pttl(f"{ENROLLMENTS}1") <= 33_000


async def test_all_who_miss_at_once_share_one_load(redis: Redis, redis_url: str) -> None:
    load = Loader(delay_s=0.2)
    async with caching(redis_url) as caches:
        values = await asyncio.gather(*(caches.get_or_load(f"{COURSES}1", 300, load, bytes) for _ in range(50)))
        assert values == [load.value] * 50
        assert load.loads == 1


async def test_a_reader_that_gives_up_does_not_take_the_load_from_the_others(redis: Redis, redis_url: str) -> None:
    load = Loader(delay_s=0.2)
    async with caching(redis_url) as caches:
        first = asyncio.create_task(caches.get_or_load(f"{COURSES}1", 300, load, bytes))
        await asyncio.sleep(0.05)
        second = asyncio.create_task(caches.get_or_load(f"{COURSES}1", 300, load, bytes))
        await asyncio.sleep(0.05)
        first.cancel()
        assert await second == load.value
        assert load.loads == 1


async def test_a_failed_load_is_not_cached(redis: Redis, redis_url: str) -> None:
    async def fail() -> bytes:
        raise LookupError("no such section")

    load = Loader()
    async with caching(redis_url) as caches:
        with pytest.raises(LookupError):
            await caches.get_or_load(f"{ENROLLMENTS}1", 30, fail, bytes)
        assert await caches.get_or_load(f"{ENROLLMENTS}1", 30, load, bytes) == load.value


async def test_an_invalidated_value_is_gone_everywhere(redis: Redis, redis_url: str) -> None:
    load = Loader(b"old")
    async with announcing(redis_url) as actor, caching(redis_url) as reader:
        await reader.get_or_load(f"{ENROLLMENTS}7", 60, load, bytes)
        await reader.get_or_load(f"{ENROLLMENTS}8", 60, load, bytes)
        await actor.announce(Committed([], [7]))
        load.value = b"new"
        assert await reader.get_or_load(f"{ENROLLMENTS}7", 60, load, bytes) == b"new"
        assert await reader.get_or_load(f"{ENROLLMENTS}8", 60, load, bytes) == b"old"
        assert await redis.get(f"{ENROLLMENTS}7") == TOMBSTONE
        assert 2_000 < await redis.pttl(f"{ENROLLMENTS}7") <= 3_000


async def test_a_slow_reader_cannot_cache_what_it_saw_before_the_commit(redis: Redis, redis_url: str) -> None:
    slow = Loader(b"old", delay_s=0.2)
    async with announcing(redis_url) as actor, caching(redis_url) as reader:
        reading = asyncio.create_task(reader.get_or_load(f"{ENROLLMENTS}7", 60, slow, bytes))
        await asyncio.sleep(0.05)
        await actor.announce(Committed([], [7]))
        # The student's next read, while the slow one is still under way, must not share its load.
        assert await reader.get_or_load(f"{ENROLLMENTS}7", 60, Loader(b"new"), bytes) == b"new"
        assert await reading == b"old"
        assert await redis.get(f"{ENROLLMENTS}7") == TOMBSTONE


async def test_the_catalogue_is_invalidated_and_nothing_else(redis: Redis, redis_url: str) -> None:
    load = Loader()
    async with caching(redis_url) as caches, announcing(redis_url) as announcer:
        for number in range(1500):
            await redis.set(f"{COURSES}{number}", b"page")
        await caches.get_or_load(f"{ENROLLMENTS}1", 30, load, bytes)
        await announcer.invalidate_catalogue()
        assert await redis.keys(f"{COURSES}*") == []
        assert await redis.keys(f"{ENROLLMENTS}*") == [f"{ENROLLMENTS}1".encode()]


@pytest.mark.parametrize("silent", [False, True])
async def test_without_redis_readers_load_and_commits_are_not_held_up(silent: bool) -> None:
    load = Loader(delay_s=0)
    async with (
        silent_server() as deaf,
        caching(deaf if silent else NOWHERE, TIMEOUT_S) as caches,
        announcing(deaf if silent else NOWHERE, TIMEOUT_S) as announcer,
    ):
        for number in range(10):
            started = time.monotonic()
            await announcer.announce(Committed([], [number]))
            assert time.monotonic() - started < 0.2
            assert await caches.get_or_load(f"{ENROLLMENTS}{number}", 30, load, bytes) == load.value
        await announcer.invalidate_catalogue()
        assert (load.loads, caches.hits, caches.misses) == (10, 0, 10)


async def test_what_could_not_be_invalidated_is_when_redis_is_back(redis: Redis, redis_url: str) -> None:
    load = Loader(b"old")
    async with announcing(redis_url, TIMEOUT_S) as actor, caching(redis_url) as reader:
        await actor.announce(Committed([], [2]))
        await reader.get_or_load(f"{ENROLLMENTS}1", 30, load, bytes)
        await redis.client_pause(250)
        await actor.announce(Committed([], [1]))
        await asyncio.sleep(1.0)
        assert await redis.get(f"{ENROLLMENTS}1") == TOMBSTONE


class Number(msgspec.Struct):
    """What the tests of junk cache."""

    number: int


decode_number = msgspec.json.Decoder(Number).decode
JUNK = [b"", b"junk", b"{", b"[]", b"\xff\xfe", b'{"number": "1"}', b'{"number": "\xff"}', b"[" * 100_000, b"null"]


@pytest.mark.parametrize("junk", JUNK, ids=lambda junk: repr(junk[:12]))
@pytest.mark.parametrize("key", [f"{ENROLLMENTS}7", f"{COURSES}index"])
async def test_junk_is_a_miss_and_is_replaced(redis: Redis, redis_url: str, key: str, junk: bytes) -> None:
    load = Loader(b'{"number": 1}')
    await redis.set(key, junk)
    async with caching(redis_url) as reader:
        assert await reader.get_or_load(key, 60, load, decode_number) == Number(1)
        assert await reader.get_or_load(key, 60, load, decode_number) == Number(1)
        assert (load.loads, reader.hits, reader.misses) == (1, 1, 1)
    assert await redis.get(key) == load.value


async def test_a_key_of_another_type_is_a_miss_and_no_outage(redis: Redis, redis_url: str) -> None:
    load = Loader(b'{"number": 1}')
    await redis.lpush(f"{ENROLLMENTS}7", "a list")
    await redis.hset(f"{COURSES}index", "a", "hash")
    async with caching(redis_url) as reader:
        for key in (f"{ENROLLMENTS}7", f"{COURSES}index"):
            assert await reader.get_or_load(key, 60, load, decode_number) == Number(1)
            assert await redis.get(key) == load.value
        assert not reader.is_away


async def test_a_tombstone_over_junk_stays(redis: Redis, redis_url: str) -> None:
    """A commit between the reader's look at the junk and its removal: the tombstone must not be removed with it."""
    async with announcing(redis_url) as actor, caching(redis_url) as reader:
        await redis.set(f"{ENROLLMENTS}7", b"junk")

        def decode(value: bytes) -> Number:
            if value == b"junk":
                blocking.set(f"{ENROLLMENTS}7", TOMBSTONE)
            return decode_number(value)

        with SyncRedis.from_url(redis_url) as blocking:
            assert await reader.get_or_load(f"{ENROLLMENTS}7", 60, Loader(b'{"number": 1}'), decode) == Number(1)
        assert await redis.get(f"{ENROLLMENTS}7") == TOMBSTONE
        await actor.announce(Committed([], [7]))


# Rate limits


@pytest.mark.parametrize("junk", [b"", b"junk", b"nan", b"inf", b"-inf", b"1e300", b"9" * 400, b"-1", b"\xff"])
async def test_a_bucket_of_junk_is_an_empty_one(redis: Redis, redis_url: str, junk: bytes) -> None:
    limiter = RedisRateLimiter(redis_url, timeout_s=PATIENT_S)
    await redis.set("rate:a", junk)
    await redis.lpush("rate:b", "a list")
    for key in "ab":
        hits = [await limiter.hit(key, 1, 2) for _ in range(3)]
        assert hits[:2] == [None, None]
        assert hits[2] is not None
        assert 0 < await redis.pttl(f"rate:{key}") <= 2000, "counted there, not in this process"
    await limiter.close()


async def test_a_burst_is_shared_by_all_processes(redis: Redis, redis_url: str) -> None:
    one, two = (RedisRateLimiter(redis_url, timeout_s=PATIENT_S) for _ in range(2))
    hits = [await limiter.hit("student 1", 1, 4) for limiter in (one, two) * 3]
    assert hits[:4] == [None] * 4
    assert all(wait_s is not None and 0.5 < wait_s <= 1 for wait_s in hits[4:])
    assert await one.hit("student 2", 1, 4) is None
    await one.close()
    await two.close()


async def test_the_bucket_drains_and_goes(redis: Redis, redis_url: str) -> None:
    limiter = RedisRateLimiter(redis_url, timeout_s=PATIENT_S)
    assert await limiter.hit("a", 10, 1) is None
    wait_s = await limiter.hit("a", 10, 1)
    assert wait_s is not None
    await asyncio.sleep(wait_s + 0.01)
    assert await limiter.hit("a", 10, 1) is None
    await asyncio.sleep(0.15)
    assert await redis.keys("rate:*") == []
    await limiter.close()


async def test_a_peek_takes_nothing(redis: Redis, redis_url: str) -> None:
    for url in (redis_url, NOWHERE):
        limiter = RedisRateLimiter(url, timeout_s=PATIENT_S)
        assert [await limiter.peek("peeked", 1, 2) for _ in range(5)] == [None] * 5
        assert [await limiter.hit("peeked", 1, 2) for _ in range(2)] == [None] * 2
        waits_s = [await limiter.peek("peeked", 1, 2) for _ in range(2)]
        assert all(wait_s is not None and 0.5 < wait_s <= 1 for wait_s in waits_s)
        await limiter.close()


async def test_redis_counts_as_python_does(redis: Redis) -> None:
    """The same hits at the same times: Redis is told the time by a script that has TIME replaced."""
    script = gcra.HIT_LUA.replace("redis.call('TIME')", "{ARGV[3], ARGV[4]}")
    key, rate, burst = f"rate:{uuid.uuid4()}", 5.0, 3
    tat = None
    # Steps that never fall on a limit exactly, where rounding decides.
    for step in range(40):
        now = 1_700_000_000 + step * 0.0701
        tat, wait_s = gcra.hit(tat, now, rate, burst)
        seconds, micros = divmod(round(now * 1e6), 1_000_000)
        answer = await redis.eval(script, 1, key, str(round(1e6 / rate)), str(burst), str(seconds), str(micros))
        if wait_s is None:
            assert answer == -1
        else:
            assert answer == pytest.approx(wait_s * 1e6, abs=5)


async def test_without_redis_each_process_limits_for_itself() -> None:
    limiter = RedisRateLimiter(NOWHERE)
    hits = [await limiter.hit("a", 1, 2) for _ in range(3)]
    assert hits[:2] == [None, None]
    assert hits[2] is not None
    await limiter.close()
