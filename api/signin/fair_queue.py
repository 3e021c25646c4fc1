"""A short queue before a few workers that nobody can fill alone: senders take turns, and known ones go first."""

from __future__ import annotations

import asyncio
from collections import OrderedDict, deque
from collections.abc import AsyncIterator, Hashable
from contextlib import asynccontextmanager

Waiting = OrderedDict[Hashable, deque["asyncio.Future[None]"]]


class QueueFullError(Exception):
    """There is no room for one more, or there was none any more for who had the most in it."""


class FairQueue:
    """Who waits for a worker, by sender.

    A newcomer to a full queue takes the place of the last who came from the sender with the most in it, unless that is
    the newcomer's own sender.

    Args:
        workers: how many may be at work.
        waiting_max: how many may wait.
        kept: places among them for known senders.
    """

    def __init__(self, workers: int, waiting_max: int, kept: int) -> None:
        self._idle = workers
        self._waiting_max = waiting_max
        self._strangers_max = waiting_max - kept
        self._known: Waiting = OrderedDict()
        self._strangers: Waiting = OrderedDict()

    @asynccontextmanager
    async def turn(self, sender: Hashable, *, is_known: bool) -> AsyncIterator[None]:
        """A worker for as long as the context lasts.

        Raises:
            QueueFullError: if there is no room to wait.
        """
        if self._idle:
            self._idle -= 1
        else:
            await self._wait(sender, self._known if is_known else self._strangers)
        try:
            yield
        finally:
            self._pass_on()

    async def _wait(self, sender: Hashable, lane: Waiting) -> None:
        self._make_room(sender, lane)
        place = asyncio.get_running_loop().create_future()
        lane.setdefault(sender, deque()).append(place)
        try:
            await place
        except asyncio.CancelledError:
            if place.done() and not place.cancelled() and place.exception() is None:
                self._pass_on()  # the turn had just come
            else:
                _remove(lane, sender, place)
            raise

    def _make_room(self, sender: Hashable, lane: Waiting) -> None:
        strangers, known = _size(self._strangers), _size(self._known)
        is_full = strangers + known >= self._waiting_max
        if lane is self._strangers and strangers >= self._strangers_max:
            is_full = True
        if not is_full:
            return
        crowded = self._strangers if self._strangers else self._known
        if lane is self._strangers and not self._strangers:
            raise QueueFullError
        fullest = max(reversed(crowded), key=lambda one: len(crowded[one]))  # the latest of equals
        if crowded is lane and len(crowded[fullest]) <= len(lane.get(sender, ())) + 1:
            raise QueueFullError
        last = crowded[fullest].pop()
        if not crowded[fullest]:
            del crowded[fullest]
        last.set_exception(QueueFullError())

    def _pass_on(self) -> None:
        for lane in (self._known, self._strangers):
            while lane:
                sender, places = lane.popitem(last=False)
                place = places.popleft()
                if places:
                    lane[sender] = places  # behind all others
                if not place.done():
                    place.set_result(None)
                    return
        self._idle += 1


def _size(lane: Waiting) -> int:
    return sum(map(len, lane.values()))


def _remove(lane: Waiting, sender: Hashable, place: asyncio.Future[None]) -> None:
    places = lane.get(sender)
    if places is not None and place in places:
        places.remove(place)
        if not places:
            del lane[sender]
