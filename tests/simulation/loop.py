"""An event loop in simulated time: it jumps to the next timer instead of waiting."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

T = TypeVar("T")


class DeadlockError(Exception):
    """Everybody waits for somebody and no timer is set: nothing would ever happen again."""


class SimulatedLoop(asyncio.BaseEventLoop):
    """Callbacks run in the order in which they were scheduled, and only that: no sockets, no threads, no clock."""

    def __init__(self) -> None:
        super().__init__()
        self._now = 0.0
        self._selector = self

    def time(self) -> float:
        """Simulated seconds since the start."""
        return self._now

    def select(self, timeout: float | None) -> list[object]:
        """Where a real loop would sleep: time passes at once."""
        if timeout is None:
            raise DeadlockError("no callback is ready and no timer is set")
        self._now += timeout
        return []

    def _process_events(self, event_list: list[object]) -> None:
        """There are none."""

    def _write_to_self(self) -> None:
        """Nobody needs waking."""


def run_simulated(main: Coroutine[Any, Any, T]) -> T:
    """Like ``asyncio.run``, in simulated time. What still runs at the end is ended."""
    loop = SimulatedLoop()
    asyncio.set_event_loop(loop)
    try:
        return loop.run_until_complete(main)
    finally:
        left = asyncio.all_tasks(loop)
        for task in left:
            task.cancel()
        loop.run_until_complete(asyncio.gather(*left, return_exceptions=True))
        asyncio.set_event_loop(None)
        loop.close()
