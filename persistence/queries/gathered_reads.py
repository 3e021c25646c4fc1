"""Batched reads: rows that many callers ask for one by one are read from Postgres with one statement.

A statement of its own for each row costs an API process about a millisecond, most of it around the statement. So while
reads are under way, the keys of further callers are gathered, and the next read takes them all. A read that began
before a caller came does not serve that caller.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from itertools import islice
from typing import Generic, TypeVar

T = TypeVar("T")

READS_MAX = 2
"""Reads under way at once: two, so that a slow one does not hold up the next."""

KEYS_MAX = 100
"""Keys in one read: so many take the event loop a few milliseconds."""


class GatheredReads(Generic[T]):
    """Gathers keys and reads their rows together.

    Args:
        read: reads rows by key, as they are now; keys without a row are left out.
    """

    def __init__(self, read: Callable[[Sequence[int]], Awaitable[Mapping[int, T]]]) -> None:
        self._read = read
        self._waiting: dict[int, asyncio.Future[T | None]] = {}
        self._under_way: dict[asyncio.Task[None], dict[int, asyncio.Future[T | None]]] = {}

    async def get(self, key: int) -> T | None:
        """The row of a key, as it is now; None if there is none. Raises what ``read`` raises."""
        future = self._waiting.get(key)
        if future is None:
            future = self._waiting[key] = asyncio.get_running_loop().create_future()
            future.add_done_callback(
                lambda done: done.cancelled() or done.exception()
            )  # every caller may have been cancelled
            self._begin()
        # Shielded: one caller that gives up must not cancel the read of the others.
        return await asyncio.shield(future)

    async def close(self) -> None:
        """Cancel all reads, and with them the callers that wait."""
        tasks = list(self._under_way)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for future in self._waiting.values():
            future.cancel()

    def _begin(self) -> None:
        while self._waiting and len(self._under_way) < READS_MAX:
            taken = {key: self._waiting.pop(key) for key in list(islice(self._waiting, KEYS_MAX))}
            task = asyncio.create_task(self._finish(taken), name="gathered-read")
            self._under_way[task] = taken
            task.add_done_callback(self._ended)

    async def _finish(self, waiting: Mapping[int, asyncio.Future[T | None]]) -> None:
        found = await self._read(list(waiting))
        for key, future in waiting.items():
            future.set_result(found.get(key))

    def _ended(self, task: asyncio.Task[None]) -> None:
        error = None if task.cancelled() else task.exception()
        for future in self._under_way.pop(task).values():
            if error is not None and not future.done():
                future.set_exception(error)
            else:
                future.cancel()  # does nothing if it has its result
        if not task.cancelled():
            self._begin()
