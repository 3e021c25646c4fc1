"""Sections read from Postgres for who wants to see them, many with one statement.

A statement for each section costs an API process about 2 ms, most of it in everything around the statement. So while a
few reads are under way, everybody else who comes is gathered, and the next read takes them all.

Nobody is given what was read before they came. So a section is never older than its reader, whatever is heard or missed
meanwhile.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from itertools import islice

from allocator.ports import SeatWrite
from allocator.read_models import SectionView

READS_MAX = 2
"""Under way at once: one that is slow does not hold up the next."""
SECTIONS_MAX = 100
"""In one read: so many take the event loop a few milliseconds."""

ReadSections = Callable[[Sequence[int]], Awaitable[Mapping[int, SectionView]]]
Keep = Callable[[SectionView, SeatWrite | None], None]
_Waiting = dict[int, asyncio.Future[SectionView | None]]


class _Read:
    """One statement, who waits for it, and what is heard of its sections meanwhile."""

    __slots__ = ("news", "waiting", "worth_keeping")

    def __init__(self, waiting: _Waiting) -> None:
        self.waiting = waiting
        self.news: dict[int, SeatWrite] = {}
        self.worth_keeping = True


class SectionLoads:
    """Args:
    read: sections by id, as they are now; those that do not exist are left out.
    keep: called with each section that was read, and with the last that was heard of it meanwhile.
    """

    def __init__(self, read: ReadSections, keep: Keep) -> None:
        self._read = read
        self._keep = keep
        self._waiting: _Waiting = {}
        self._under_way: dict[asyncio.Task[None], _Read] = {}

    async def section(self, section_id: int) -> SectionView | None:
        """The section, as it is now; None if there is none. Raises what ``read`` raises."""
        future = self._waiting.get(section_id)
        if future is None:
            future = self._waiting[section_id] = asyncio.get_running_loop().create_future()
            future.add_done_callback(lambda done: done.cancelled() or done.exception())  # all who waited may be gone
            self._begin()
        # Shielded: one reader that gives up must not take the section from the others.
        return await asyncio.shield(future)

    def hear(self, counts: SeatWrite) -> None:
        """A section has changed: what is being read of it may be from before."""
        for read in self._under_way.values():
            if counts.section_id in read.waiting:
                known = read.news.get(counts.section_id)
                if known is None or counts.seq > known.seq:
                    read.news[counts.section_id] = counts

    def keep_nothing(self) -> None:
        """Changes may have gone by unheard: what is being read can be shown, but not kept."""
        for read in self._under_way.values():
            read.worth_keeping = False

    async def close(self) -> None:
        """Stop; who still waits is cancelled."""
        tasks = list(self._under_way)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for future in self._waiting.values():
            future.cancel()

    def _begin(self) -> None:
        while self._waiting and len(self._under_way) < READS_MAX:
            taken = list(islice(self._waiting, SECTIONS_MAX))
            read = _Read({section_id: self._waiting.pop(section_id) for section_id in taken})
            task = asyncio.create_task(self._finish(read), name="read-sections")
            self._under_way[task] = read
            task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        read = self._under_way.pop(task)
        error = None if task.cancelled() else task.exception()
        for future in read.waiting.values():
            if error is not None and not future.done():
                future.set_exception(error)
            else:
                future.cancel()  # does nothing to who has got a section
        if not task.cancelled():
            self._begin()

    async def _finish(self, read: _Read) -> None:
        found = await self._read(list(read.waiting))
        for section_id, future in read.waiting.items():
            view = found.get(section_id)
            if view is not None and read.worth_keeping:
                self._keep(view, read.news.get(section_id))
            future.set_result(view)
