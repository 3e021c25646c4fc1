"""Cached reads in Redis, and how a commit makes them forget.

Two families: ``courses:semester:{id}`` (300 s) and ``student:enrollments:{id}`` (60 s). Counts of seats are not kept
here but published, for every API process keeps sections itself (`persistence/caches/seat_board.py`).

A commit does not delete a cached value, it puts a *tombstone* over it, for longer than any load takes. A reader that
finds one reads Postgres and does not cache. So a slow reader that saw the state before the commit cannot fill the cache
with it after the commit: it only fills what is empty, and for that time it is not.
"""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections.abc import Awaitable, Callable, Iterable, Sequence
from contextlib import suppress
from typing import NamedTuple

from redis.asyncio import Redis

from allocator.ports import SeatWrite
from persistence.caches.seat_board import channel_of, pack_seats
from persistence.redis.breaker import TIMEOUT_S, RedisAwayError, RedisBreaker

log = logging.getLogger(__name__)

COURSES = "courses:semester:"
ENROLLMENTS = "student:enrollments:"

COURSES_TTL_S = 300.0
ENROLLMENTS_TTL_S = 60.0

TOMBSTONE = b"\x00"  # no JSON begins so
TOMBSTONE_MS = 3000
LOAD_MAX_S = 2.5
"""A load that took longer may be older than a tombstone that came and went: it is neither cached nor shared."""

OWED_MAX = 20_000
"""Invalidations kept for a Redis that is away. Beyond it the cached values' own TTL has to do."""

# ARGV: tombstone, its life in ms, a channel and what to publish there, ids of students joined by commas. One script,
# because a pipeline of as many SETs costs the actor ten times the CPU, and as many KEYS twice. Keys that are not
# declared are for one server, not for a cluster of them, where the keys of a turn would not stand together either.
BURY = f"""
for id in string.gmatch(ARGV[5], '%d+') do redis.call('SET', '{ENROLLMENTS}' .. id, ARGV[1], 'PX', ARGV[2]) end
if ARGV[4] ~= '' then redis.call('PUBLISH', ARGV[3], ARGV[4]) end
return 0"""

SETTLE_S = 0.05
"""How often what is owed is tried again. Cheap: most tries end at the open breaker."""

PER_CALL = 2000

Load = Callable[[], Awaitable[bytes]]


class _Flight(NamedTuple):
    started_at: float
    task: asyncio.Task[bytes]


class RedisCaches:
    """Cached reads. Implements ``allocator.ports.CacheInvalidator``.

    ``hits`` and ``misses`` count the answers from the cache and from the loaders.
    """

    def __init__(self, redis_url: str, *, timeout_s: float = TIMEOUT_S) -> None:
        self.hits = 0
        self.misses = 0
        self._redis = RedisBreaker(redis_url, "caches", timeout_s=timeout_s)
        self._channel = channel_of(self._redis.client)
        self._bury = self._redis.client.register_script(BURY)
        self._flights: dict[str, _Flight] = {}
        self._owed: dict[int, None] = {}  # students
        self._owed_seats: dict[int, SeatWrite] = {}  # the latest of each section
        self._settling: asyncio.Task[None] | None = None

    async def get_or_load(self, key: str, ttl_s: float, load: Load) -> bytes:
        """The cached value of ``key``, or what ``load`` gives, then cached for about ``ttl_s``.

        Within a process, all who miss at once share one load. Redis being away means loading.
        """
        try:
            value = await self._redis.call(lambda redis: redis.get(key))
        except RedisAwayError:
            self.misses += 1
            # Unable to see tombstones, a shared load might hide the reader's own change from them.
            return await (self._share(key, None, load) if key.startswith(COURSES) else load())
        if value is None:
            self.misses += 1
            return await self._share(key, ttl_s, load)
        if value == TOMBSTONE:
            self.misses += 1
            return await load()
        self.hits += 1
        return value if isinstance(value, bytes) else value.encode()

    async def invalidate(self, seats: Sequence[SeatWrite], student_ids: Iterable[int]) -> None:
        """Publish the seats of sections, bury the enrolments of students. Never raises, takes 100 ms at most.

        What cannot be told now, because Redis does not answer, is told when it does again.
        """
        students = list(student_ids)
        if not students and not seats:
            return
        try:
            await self._tell_now(students, seats)
        except RedisAwayError:
            self._owe(students, seats)

    async def forget_catalogue(self) -> None:
        """Drop all that is cached of the catalogue, everywhere. Never raises: at worst it lives out its TTL."""
        with suppress(RedisAwayError):
            await self._redis.call(_unlink_catalogue)
            await self._redis.call(lambda redis: redis.publish(self._channel, pack_seats([])))

    async def close(self) -> None:
        """Close the connections."""
        if self._settling is not None:
            self._settling.cancel()
            with suppress(asyncio.CancelledError):
                await self._settling
        await self._redis.close()

    async def _share(self, key: str, ttl_s: float | None, load: Load) -> bytes:
        """Load once for all who ask while it lasts; keep the result if there is a ``ttl_s`` to keep it."""
        now = time.monotonic()
        flight = self._flights.get(key)
        if flight is None or now - flight.started_at > LOAD_MAX_S:
            flight = _Flight(now, asyncio.create_task(self._load(key, ttl_s, load)))
            self._flights[key] = flight
            flight.task.add_done_callback(lambda task: self._landed(key, task))
        # Shielded: one reader that gives up must not take the load from the others.
        return await asyncio.shield(flight.task)

    def _landed(self, key: str, task: asyncio.Task[bytes]) -> None:
        if key in self._flights and self._flights[key].task is task:
            del self._flights[key]
        if not task.cancelled():
            task.exception()  # its readers have it; if they all left, nobody needs to hear of it

    async def _load(self, key: str, ttl_s: float | None, load: Load) -> bytes:
        started_at = time.monotonic()
        value = await load()
        if ttl_s is not None and time.monotonic() - started_at < LOAD_MAX_S:
            # Jitter: values that were cached together should not expire together.
            milliseconds = int(ttl_s * 1000 * random.uniform(0.9, 1.1))  # noqa: S311
            with suppress(RedisAwayError):
                await self._redis.call(lambda redis: redis.set(key, value, px=milliseconds, nx=True))
        return value

    async def _tell_now(self, student_ids: list[int], seats: Sequence[SeatWrite]) -> None:
        news = pack_seats(seats) if seats else b""
        students = ",".join(map(str, student_ids))
        await self._redis.call(lambda _: self._bury(args=[TOMBSTONE, TOMBSTONE_MS, self._channel, news, students]))

    def _owe(self, student_ids: list[int], seats: Sequence[SeatWrite]) -> None:
        if len(self._owed) + len(student_ids) <= OWED_MAX:
            self._owed.update(dict.fromkeys(student_ids))
        else:
            log.warning("too many cached values to forget while Redis is away: some may be stale for a minute")
        for counts in seats:
            known = self._owed_seats.get(counts.section_id)
            if known is None or counts.seq > known.seq:  # an earlier turn may have waited for Redis longer
                self._owed_seats[counts.section_id] = counts
        if self._settling is None or self._settling.done():
            self._settling = asyncio.create_task(self._settle(), name="invalidations owed to Redis")

    async def _settle(self) -> None:
        while self._owed or self._owed_seats:
            students = list(self._owed)[:PER_CALL]
            seats = list(self._owed_seats.values())[:PER_CALL]
            try:
                await self._tell_now(students, seats)
            except RedisAwayError:
                await asyncio.sleep(SETTLE_S)
                continue
            for student_id in students:
                self._owed.pop(student_id, None)
            for counts in seats:
                if self._owed_seats.get(counts.section_id) is counts:
                    del self._owed_seats[counts.section_id]


async def _unlink_catalogue(redis: Redis) -> None:
    keys = [key async for key in redis.scan_iter(match=f"{COURSES}*", count=1000)]
    if keys:
        await redis.unlink(*keys)
