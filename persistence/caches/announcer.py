"""How a commit reaches the caches: tombstones over cached values, and seats published to the API processes.

What cannot be announced because Redis is away stays pending, and a background task announces it when Redis is back.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from contextlib import suppress

from redis.asyncio import Redis

from allocator.ports import Committed, SeatWrite
from persistence.caches.keys import COURSES, ENROLLMENTS, TOMBSTONE, TOMBSTONE_MS, channel_of, pack_seats
from persistence.redis.breaker import TIMEOUT_S, RedisAwayError, RedisBreaker

log = logging.getLogger(__name__)

PENDING_MAX = 20_000
"""Students whose invalidation is kept for a Redis that is away. Beyond it, cached values expire by their TTL."""

RETRY_S = 0.05
"""Between two tries to announce what is pending. Cheap: most of them end at the open breaker."""

PER_CALL = 2000
"""Students, and sections, in one call: a script blocks Redis while it runs."""

# ARGV: tombstone, its life in ms, a channel and what to publish there, ids of students joined by commas. One script,
# because a pipeline of as many SETs costs the actor ten times the CPU, and as many KEYS twice. Keys that are not
# declared are fine on one server; on a Redis Cluster the keys of a turn would be on different nodes in any case.
INVALIDATE_AND_PUBLISH = f"""
for id in string.gmatch(ARGV[5], '%d+') do redis.call('SET', '{ENROLLMENTS}' .. id, ARGV[1], 'PX', ARGV[2]) end
if ARGV[4] ~= '' then redis.call('PUBLISH', ARGV[3], ARGV[4]) end
return 0"""


class RedisAnnouncer:
    """Announces commits through Redis. Implements ``allocator.ports.Announcer``."""

    def __init__(self, redis_url: str, *, timeout_s: float = TIMEOUT_S) -> None:
        self._redis = RedisBreaker(redis_url, "announcements of commits", timeout_s=timeout_s)
        self._channel = channel_of(self._redis.client)
        self._script = self._redis.client.register_script(INVALIDATE_AND_PUBLISH)
        self._pending_students: dict[int, None] = {}
        self._pending_seats: dict[int, SeatWrite] = {}  # the latest of each section
        self._retrying: asyncio.Task[None] | None = None

    async def announce(self, committed: Committed) -> None:
        """Publish the seats of sections, invalidate the cached enrolments of students.

        Never raises, and takes 100 ms at most: what Redis does not take now is announced when it is back.
        """
        students = list(committed.student_ids)
        if not students and not committed.seats:
            return
        try:
            await self._announce(students, committed.seats)
        except RedisAwayError:
            self._keep_pending(students, committed.seats)

    async def invalidate_catalogue(self) -> None:
        """Drop the cached catalogue, here and in all API processes. Never raises: at worst it expires by its TTL."""
        with suppress(RedisAwayError):
            await self._redis.call(_unlink_catalogue)
            await self._redis.call(lambda redis: redis.publish(self._channel, pack_seats([])))

    async def close(self) -> None:
        """Stop trying, and close the connections."""
        if self._retrying is not None:
            self._retrying.cancel()
            with suppress(asyncio.CancelledError):
                await self._retrying
        await self._redis.close()

    async def _announce(self, student_ids: list[int], seats: Sequence[SeatWrite]) -> None:
        message = pack_seats(seats) if seats else b""
        students = ",".join(map(str, student_ids))
        await self._redis.call(lambda _: self._script(args=[TOMBSTONE, TOMBSTONE_MS, self._channel, message, students]))

    def _keep_pending(self, student_ids: list[int], seats: Sequence[SeatWrite]) -> None:
        if len(self._pending_students) + len(student_ids) <= PENDING_MAX:
            self._pending_students.update(dict.fromkeys(student_ids))
        else:
            log.warning("Redis is away and too many invalidations are pending: some reads may be stale for a minute")
        for counts in seats:
            known = self._pending_seats.get(counts.section_id)
            if known is None or counts.seq > known.seq:  # an earlier turn may have waited for Redis longer
                self._pending_seats[counts.section_id] = counts
        if self._retrying is None or self._retrying.done():
            self._retrying = asyncio.create_task(self._announce_pending(), name="pending announcements")

    async def _announce_pending(self) -> None:
        while self._pending_students or self._pending_seats:
            students = list(self._pending_students)[:PER_CALL]
            seats = list(self._pending_seats.values())[:PER_CALL]
            try:
                await self._announce(students, seats)
            except RedisAwayError:
                await asyncio.sleep(RETRY_S)
                continue
            for student_id in students:
                self._pending_students.pop(student_id, None)
            for counts in seats:
                if self._pending_seats.get(counts.section_id) is counts:
                    del self._pending_seats[counts.section_id]


async def _unlink_catalogue(redis: Redis) -> None:
    keys = [key async for key in redis.scan_iter(match=f"{COURSES}*", count=1000)]
    if keys:
        await redis.unlink(*keys)
