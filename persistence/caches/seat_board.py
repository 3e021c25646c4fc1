"""Sections as an API process shows them: read from Postgres once, then kept true by what the section actors publish.

Whoever commits a change of seats publishes the new counts before the change is acknowledged (`caches/cached_reads.py`).
Every API process listens. A reader first sends a PING down the connection on which it listens: Redis answers in order,
so when the PONG is there, so is everything that was published before the reader came. Students thus read their own
writes from any process. One PING serves all readers that came before it was sent.

Without Redis nothing is kept, and every reader goes to Postgres.
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
from allocator.ports import SeatWrite
from persistence.queries.gathered_reads import GatheredReads
from persistence.redis.breaker import PAUSE_MAX_S, PAUSE_MIN_S, TIMEOUT_S

log = logging.getLogger(__name__)

CHANNEL = "seatline:seats:"
"""And the number of the Redis database: channels, unlike keys, are shared by all databases of a server."""

TTL_S = 30.0
"""What is not in a change of seats (a room, a teacher) is read again after this."""
KEPT_MAX = 50_000
CONNECT_TIMEOUT_S = 1.0

ReadSections = Callable[[Sequence[int]], Awaitable[Mapping[int, SectionView]]]
Passed = Callable[[], object]

_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(list[SeatWrite]).decode


def channel_of(redis: Redis) -> str:
    """Where those who use this database of Redis publish changes of seats."""
    return f"{CHANNEL}{redis.connection_pool.connection_kwargs.get('db') or 0}"


def pack_seats(seats: Sequence[SeatWrite]) -> bytes:
    """What is published. No seats at all mean that anything may have changed."""
    return _encode(seats)


class _Entry:
    __slots__ = ("until", "view")

    def __init__(self, view: SectionView) -> None:
        self.view = view
        self.until = time.monotonic() + TTL_S * random.uniform(0.9, 1.1)  # noqa: S311  (not all at once)


class _Reading:
    """Sections that are being read, and what is heard of them meanwhile."""

    __slots__ = ("news", "section_ids", "worth_keeping")

    def __init__(self, section_ids: Sequence[int]) -> None:
        self.section_ids = frozenset(section_ids)
        self.news: dict[int, SeatWrite] = {}
        self.worth_keeping = True

    def hear(self, counts: SeatWrite) -> None:
        if counts.section_id in self.section_ids:
            known = self.news.get(counts.section_id)
            if known is None or counts.seq > known.seq:
                self.news[counts.section_id] = counts


class SeatBoard:
    """Implements ``api.ports.LiveSections``.

    Args:
        redis_url: where changes are published.
        read: sections from Postgres by id, as they are now.
    """

    def __init__(self, redis_url: str, read: ReadSections) -> None:
        # The next message comes when it comes: only connecting has a limit.
        self._redis = Redis.from_url(
            redis_url, socket_timeout=None, socket_connect_timeout=1.0, protocol=2, driver_info=None
        )
        self._entries: dict[int, _Entry] = {}
        self._read = read
        self._readings: set[_Reading] = set()
        self._reads = GatheredReads(self._read_and_keep)
        self._is_live = False
        self._arriving: list[Passed] = []
        self._asking: list[Passed] = []  # those whose PING is under way
        self._arrived = asyncio.Event()
        self._answered = asyncio.Event()
        self._task = asyncio.create_task(self._run(), name="seat-board")

    async def section(self, section_id: int) -> SectionView | None:
        """The section as it is now, or later; None if there is none."""
        passed = asyncio.Event()
        if self._when_all_is_heard(passed.set):
            await passed.wait()
        entry = self._fresh(section_id)
        return entry.view if entry is not None else await self._reads.get(section_id)

    def look(self, section_id: int, tell: Callable[[SectionView | None], None]) -> bool:
        """The same without a coroutine, if the section is at hand.

        ``tell`` is called once, later, with None if the section is not at hand any more.
        """

        def passed() -> None:
            entry = self._fresh(section_id)
            tell(None if entry is None else entry.view)

        return self._fresh(section_id) is not None and self._when_all_is_heard(passed)

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
        if self._is_live and reading.worth_keeping:  # else changes may have gone by unheard
            if len(self._entries) >= KEPT_MAX:
                self._entries.clear()
            for section_id, view in found.items():
                news = reading.news.get(section_id)
                self._entries[section_id] = _Entry(view if news is None else _newer(view, news))
        return found

    # Listening

    def _when_all_is_heard(self, passed: Passed) -> bool:
        """Call ``passed`` when everything that was published before now is here; False if nobody listens."""
        if self._is_live:
            self._arriving.append(passed)
            self._arrived.set()
        return self._is_live

    async def _run(self) -> None:
        pause_s = 0.0
        while True:
            try:
                await self._listen_and_ask()
            except* (RedisError, OSError, TimeoutError) as errors:
                if self._is_live or not pause_s:
                    log.warning("changes of seats are not heard, sections are read from Postgres: %r", errors)
                pause_s = PAUSE_MIN_S if self._is_live else min(max(pause_s * 2, PAUSE_MIN_S), PAUSE_MAX_S)
            except* Exception:  # a bug, here or in the client library, that must not be the end of listening
                log.exception("changes of seats are not heard, sections are read from Postgres")
                pause_s = PAUSE_MAX_S
            finally:
                self._begin_anew(is_live=False)
            await asyncio.sleep(pause_s)

    async def _listen_and_ask(self) -> None:
        async with self._redis.pubsub() as pubsub:
            async with asyncio.timeout(CONNECT_TIMEOUT_S):
                await pubsub.subscribe(channel_of(self._redis))
            async with asyncio.TaskGroup() as both:
                both.create_task(self._listen(pubsub))
                both.create_task(self._ask(pubsub))

    async def _listen(self, pubsub: PubSub) -> None:
        async for message in pubsub.listen():
            match message["type"]:
                case "message":
                    self._hear(message["data"])
                case "pong":
                    self._pass_all()
                    self._answered.set()
                case "subscribe":  # the first time, or after a connection was lost, and messages with it
                    self._begin_anew(is_live=True)
        raise ConnectionError("the subscription ended")

    async def _ask(self, pubsub: PubSub) -> None:
        while True:
            await self._arrived.wait()
            self._arrived.clear()
            self._answered.clear()
            self._asking, self._arriving = self._arriving, []
            async with asyncio.timeout(TIMEOUT_S):
                await pubsub.ping()
                await self._answered.wait()

    def _hear(self, packed: bytes) -> None:
        try:
            seats = _decode(packed)
        except msgspec.DecodeError:
            log.exception("what was published as changes of seats is none")
            seats = []
        if not seats:
            self._begin_anew(is_live=self._is_live)
        for counts in seats:
            entry = self._entries.get(counts.section_id)
            if entry is not None:
                entry.view = _newer(entry.view, counts)
            for reading in self._readings:  # also if something is kept: it may have expired, and this will replace it
                reading.hear(counts)

    def _begin_anew(self, *, is_live: bool) -> None:
        """Something may have gone by unheard: what was kept is forgotten, and who waits looks for themselves."""
        self._is_live = is_live
        self._entries.clear()
        for reading in self._readings:
            reading.worth_keeping = False
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
        except Exception:  # a bug, but it must not keep the others waiting
            log.exception("a reader could not be told")


def _newer(view: SectionView, counts: SeatWrite) -> SectionView:
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
