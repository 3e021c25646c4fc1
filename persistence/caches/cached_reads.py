"""Reads of Postgres that are cached in Redis.

Two families: ``courses:semester:{id}`` (300 s) and ``student:enrollments:{id}`` (60 s). Counts of seats are not cached
here: every API process has them in memory (`persistence/caches/seat_board.py`).

A commit does not delete a cached value, it writes a *tombstone* over it (`caches/announcer.py`), which lasts longer
than any load. A reader that finds a tombstone reads Postgres and does not cache the result. So a slow reader that read
Postgres before the commit cannot cache the old value after it: a load only ever fills an empty key.

What cannot be decoded is no cached value: it is removed and loaded anew, whoever wrote it.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import NamedTuple, TypeVar

import msgspec
from redis.asyncio import Redis
from redis.exceptions import ResponseError

from persistence.caches.keys import COURSES, LOAD_MAX_S, TOMBSTONE
from persistence.redis.breaker import TIMEOUT_S, RedisAwayError, RedisBreaker

T = TypeVar("T")

Loader = Callable[[], Awaitable[bytes]]

JUNK = b""
"""Stands for a value of a type of Redis that we never write. Nothing that we cache is empty."""

UNDECODABLE = (msgspec.DecodeError, ValueError, RecursionError)

# KEYS: one. ARGV: the junk that was found there. A tombstone that has replaced it meanwhile must stay.
REMOVE_JUNK = """
local is_text, value = pcall(redis.call, 'GET', KEYS[1])
if not is_text or value == ARGV[1] then redis.call('DEL', KEYS[1]) end
return 0"""


class _Flight(NamedTuple):
    started_at: float
    task: asyncio.Task[bytes]


class CachedReads:
    """Reads through the cache. Implements ``api.ports.Cache``.

    ``hits`` and ``misses`` count the answers from the cache and from the loaders.
    """

    def __init__(self, redis_url: str, *, timeout_s: float = TIMEOUT_S) -> None:
        self.hits = 0
        self.misses = 0
        self._redis = RedisBreaker(redis_url, "cached reads", timeout_s=timeout_s)
        self._remove_junk = self._redis.client.register_script(REMOVE_JUNK)
        self._flights: dict[str, _Flight] = {}

    async def get_or_load(self, key: str, ttl_s: float, load: Loader, decode: Callable[[bytes], T]) -> T:
        """The cached value of ``key``, or the result of ``load``, which is then cached for about ``ttl_s``.

        Within a process, all readers that miss at the same time share one load. While Redis is away, all load.

        Args:
            key: of the cached value.
            ttl_s: for how many seconds a loaded value is cached.
            load: loads the value.
            decode: what is made of the value, for each reader. A cached value that it does not take is none.
        """
        try:
            value = await self._redis.call(lambda redis: _get(redis, key))
        except RedisAwayError:
            self.misses += 1
            # Tombstones cannot be seen now, so a shared load could hide a reader's own change from them.
            return decode(await (self._share(key, None, load) if key.startswith(COURSES) else load()))
        if value is None:
            self.misses += 1
            return decode(await self._share(key, ttl_s, load))
        if value == TOMBSTONE:
            self.misses += 1
            return decode(await load())
        try:
            decoded = decode(value)
        except UNDECODABLE:
            with suppress(RedisAwayError):
                await self._redis.call(lambda _: self._remove_junk(keys=[key], args=[value]))
            self.misses += 1
            return decode(await self._share(key, ttl_s, load))
        self.hits += 1
        return decoded

    @property
    def is_away(self) -> bool:
        """Whether the last call of Redis failed."""
        return self._redis.is_away

    async def close(self) -> None:
        """Close the connections."""
        await self._redis.close()

    async def _share(self, key: str, ttl_s: float | None, load: Loader) -> bytes:
        """Load once for all readers that come meanwhile; cache the result unless ``ttl_s`` is None."""
        now = time.monotonic()
        flight = self._flights.get(key)
        if flight is None or now - flight.started_at > LOAD_MAX_S:
            flight = _Flight(now, asyncio.create_task(self._load(key, ttl_s, load)))
            self._flights[key] = flight
            flight.task.add_done_callback(lambda task: self._landed(key, task))
        # Shielded: one reader that gives up must not cancel the load of the others.
        return await asyncio.shield(flight.task)

    def _landed(self, key: str, task: asyncio.Task[bytes]) -> None:
        if key in self._flights and self._flights[key].task is task:
            del self._flights[key]
        if not task.cancelled():
            task.exception()  # its readers get it; if they all left, asyncio need not log it

    async def _load(self, key: str, ttl_s: float | None, load: Loader) -> bytes:
        started_at = time.monotonic()
        value = await load()
        if ttl_s is not None and time.monotonic() - started_at < LOAD_MAX_S:
            # Jitter: values that were cached together should not expire together.
            milliseconds = int(ttl_s * 1000 * random.uniform(0.9, 1.1))  # noqa: S311
            with suppress(RedisAwayError):
                await self._redis.call(lambda redis: redis.set(key, value, px=milliseconds, nx=True))
        return value


async def _get(redis: Redis, key: str) -> bytes | None:
    try:
        value = await redis.get(key)
    except ResponseError as error:
        # The code of an error of Redis is its first word. This one says nothing about whether Redis is well.
        if str(error).partition(" ")[0] != "WRONGTYPE":
            raise
        return JUNK
    return value.encode() if isinstance(value, str) else value
