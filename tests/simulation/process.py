"""A process: its tasks end with it, and messages to and from it wait while it is paused."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

T = TypeVar("T")

WALL_START_S = 1_750_000_000.0


class ProcessDiedError(Exception):
    """The process that was to answer is gone."""


class Process:
    """Something that can be paused and killed. Implements ``allocator.ports.Clock`` for what runs in it."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.is_dead = False
        self.wall_offset_s = 0.0
        self._runs = asyncio.Event()
        self._runs.set()
        self._died = asyncio.get_running_loop().create_future()
        self._tasks: dict[asyncio.Task[Any], None] = {}

    def now(self) -> float:
        """See ``allocator.ports.Clock``."""
        return WALL_START_S + self.monotonic() + self.wall_offset_s

    def monotonic(self) -> float:
        """See ``allocator.ports.Clock``."""
        return asyncio.get_running_loop().time()

    def spawn(self, work: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
        """Run something in this process."""
        task = asyncio.create_task(work)
        self._tasks[task] = None
        task.add_done_callback(lambda done: self._tasks.pop(done, None))
        return task

    async def edge(self) -> None:
        """Wait while the process stands still. In a dead one nothing ever passes."""
        while not self._runs.is_set():
            await self._runs.wait()
        if self.is_dead:
            await asyncio.get_running_loop().create_future()

    async def result_of(self, task: asyncio.Task[T]) -> T:
        """What one of its tasks returns.

        Raises:
            ProcessDiedError: if the process ends first.
        """
        await asyncio.wait([task, self._died], return_when=asyncio.FIRST_COMPLETED)
        if self.is_dead or task.cancelled():
            raise ProcessDiedError(self.name)
        return task.result()

    def pause(self) -> None:
        """SIGSTOP."""
        self._runs.clear()

    def resume(self) -> None:
        """SIGCONT."""
        self._runs.set()

    def kill(self) -> None:
        """SIGKILL."""
        if self.is_dead:
            return
        self.is_dead = True
        self._runs.set()
        self._died.set_result(None)
        for task in list(self._tasks):
            task.cancel()
