"""Sections in the memory of an API process: read from Postgres once, then updated by what section actors publish.

A section actor publishes the new counts of a section before it acknowledges the change (`caches/announcer.py`),
and every API process subscribes. Before it answers a reader, a process sends a PING on the connection of its
subscription: Redis answers in order, so when the PONG arrives, so has everything that was published before the reader
came. Students thus read their own writes from any process. One PING serves all readers that came before it was sent.

Without Redis nothing is kept in memory, and every read goes to Postgres.
"""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import replace

import msgspec
from redis.asyncio import Redis
from redis.asyncio.client import PubSub
from redis.exceptions import RedisError

from allocator.model.read_models import SectionView
from persistence.caches.keys import PublishedSeats, channel_of, unpack_seats
from persistence.queries.gathered_reads import GatheredReads
from persistence.redis.breaker import PAUSE_MAX_S, PAUSE_MIN_S, TIMEOUT_S

log = logging.getLogger(__name__)

TTL_S = 30.0
"""A section is read again after this, for what is not in a change of seats: rooms, teachers."""
KEPT_MAX = 50_000
CONNECT_TIMEOUT_S = 1.0

ReadSections = Callable[[Sequence[int]], Awaitable[Mapping[int, SectionView]]]
Passed = Callable[[], object]


class _Entry:
    __slots__ = ("until", "view")

    def __init__(self, view: SectionView) -> None:
        self.view = view
        self.until = time.monotonic() + TTL_S * random.uniform(0.9, 1.1)  # noqa: S311  (not all at once)


class _Reading:
    """A read from Postgres that is under way, and the changes of its sections that are published meanwhile."""

    __slots__ = ("changes", "is_current", "section_ids")

    def __init__(self, section_ids: Sequence[int]) -> None:
        self.section_ids = frozenset(section_ids)
        self.changes: dict[int, PublishedSeats] = {}
        self.is_current = True

    def add(self, counts: PublishedSeats) -> None:
        if counts.section_id in self.section_ids:
            known = self.changes.get(counts.section_id)
            if known is None or counts.seq > known.seq:
                self.changes[counts.section_id] = counts


class SeatBoard:
    """Sections by id, never older than what was acknowledged before they are asked for.

    Implements ``api.ports.LiveSections``.

    Args:
        redis_url: the Redis in which changes are published.
        read: reads sections from Postgres by id.
    """

    def __init__(self, redis_url: str, read: ReadSections) -> None:
        # No timeout for the socket: the next message may come at any time. Only connecting has a limit.
        self._redis = Redis.from_url(
            redis_url, socket_timeout=None, socket_connect_timeout=1.0, protocol=2, driver_info=None
        )
        self._entries: dict[int, _Entry] = {}
        self._read = read
        self._readings: set[_Reading] = set()
        self._reads = GatheredReads(self._read_and_keep)
        self._is_live = False
        self._arriving: list[Passed] = []
        self._asking: list[Passed] = []  # readers whose PING is under way
        self._arrived = asyncio.Event()
        self._answered = asyncio.Event()
        self._task = asyncio.create_task(self._run(), name="seat-board")

    async def section(self, section_id: int) -> SectionView | None:
        """The section as it is now, or later; None if there is none."""
        passed = asyncio.Event()
        if self._when_up_to_date(passed.set):
            await passed.wait()
        entry = self._fresh(section_id)
        return entry.view if entry is not None else await self._reads.get(section_id)

    def look(self, section_id: int, tell: Callable[[SectionView | None], None]) -> bool:
        """The same without a coroutine, if the section is in memory.

        ``tell`` is called once, later, with the section, or with None if it is not in memory any more.

        Returns:
            False if the section is not in memory or Redis is away; then ``tell`` is not called.
        """

        def passed() -> None:
            entry = self._fresh(section_id)
            tell(None if entry is None else entry.view)

        return self._fresh(section_id) is not None and self._when_up_to_date(passed)

    async def close(self) -> None:
        """Stop listening."""
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)
        await self._reads.close()
        await self._redis.aclose()

    def _fresh(self, section_id: int) -> _Entry | None:
        entry = self._entries.get(section_id)
        return entry if entry is not None and entry.until > time.monotonic() else None

    async def _read_and_keep(self, section_ids: Sequence[int]) -> Mapping[int, SectionView]:
        reading = _Reading(section_ids)
        self._readings.add(reading)
        try:
            found = await self._read(section_ids)
        finally:
            self._readings.remove(reading)
        if self._is_live and reading.is_current:  # else changes may have been missed
            if len(self._entries) >= KEPT_MAX:
                self._entries.clear()
            for section_id, view in found.items():
                change = reading.changes.get(section_id)
                self._entries[section_id] = _Entry(view if change is None else _newer(view, change))
        return found

    # The subscription

    def _when_up_to_date(self, passed: Passed) -> bool:
        """Call ``passed`` when everything that was published before now has arrived; False if nothing is subscribed."""
        if self._is_live:
            self._arriving.append(passed)
            self._arrived.set()
        return self._is_live

    async def _run(self) -> None:
        pause_s = 0.0
        while True:
            try:
                await self._listen_and_ping()
            except* (RedisError, OSError, TimeoutError) as errors:
                if self._is_live or not pause_s:
                    log.warning("not subscribed to changes of seats, sections are read from Postgres: %r", errors)
                pause_s = PAUSE_MIN_S if self._is_live else min(max(pause_s * 2, PAUSE_MIN_S), PAUSE_MAX_S)
            except* Exception:  # a bug, here or in the client library, must not end the subscription for good
                log.exception("not subscribed to changes of seats, sections are read from Postgres")
                pause_s = PAUSE_MAX_S
            finally:
                self._start_over(is_live=False)
            await asyncio.sleep(pause_s)

    async def _listen_and_ping(self) -> None:
        async with self._redis.pubsub() as pubsub:
            async with asyncio.timeout(CONNECT_TIMEOUT_S):
                await pubsub.subscribe(channel_of(self._redis))
            async with asyncio.TaskGroup() as both:
                both.create_task(self._listen(pubsub))
                both.create_task(self._ping(pubsub))

    async def _listen(self, pubsub: PubSub) -> None:
        async for message in pubsub.listen():
            match message["type"]:
                case "message":
                    self._apply(message["data"])
                case "pong":
                    self._pass_all()
                    self._answered.set()
                case "subscribe":  # the first time, or after a connection was lost, and messages with it
                    self._start_over(is_live=True)
        raise ConnectionError("the subscription ended")

    async def _ping(self, pubsub: PubSub) -> None:
        while True:
            await self._arrived.wait()
            self._arrived.clear()
            self._answered.clear()
            self._asking, self._arriving = self._arriving, []
            async with asyncio.timeout(TIMEOUT_S):
                await pubsub.ping()
                await self._answered.wait()

    def _apply(self, packed: bytes) -> None:
        try:
            seats = unpack_seats(packed)
        except msgspec.DecodeError:
            log.exception("a message on the channel of seats cannot be read")
            seats = []
        if not seats:
            self._start_over(is_live=self._is_live)
        for counts in seats:
            entry = self._entries.get(counts.section_id)
            if entry is not None:
                entry.view = _newer(entry.view, counts)
            for reading in self._readings:  # also with an entry: it may have expired, and the read will replace it
                reading.add(counts)

    def _start_over(self, *, is_live: bool) -> None:
        """Changes may have been missed: drop what is in memory, and let waiting readers go to Postgres."""
        self._is_live = is_live
        self._entries.clear()
        for reading in self._readings:
            reading.is_current = False
        self._pass_all()
        arriving, self._arriving = self._arriving, []
        _call_all(arriving)

    def _pass_all(self) -> None:
        asking, self._asking = self._asking, []
        _call_all(asking)


def _call_all(waiting: list[Passed]) -> None:
    for passed in waiting:
        try:
            passed()
        except Exception:  # a bug, but the other readers must get their answers
            log.exception("a reader could not be answered")


def _newer(view: SectionView, counts: PublishedSeats) -> SectionView:
    if counts.seq <= view.seq:
        return view
    return replace(
        view,
        seq=counts.seq,
        capacity=counts.capacity,
        enrolled=counts.enrolled,
        waitlisted=counts.waitlisted,
        is_open=counts.is_open,
    )
