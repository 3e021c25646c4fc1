"""The directory view as it is published: the newest one, and those who wait for a newer."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping

from cluster.config.settings import Placement
from cluster.gateway.directory import DirectoryView


class Publication:
    """Hands out views. Versions rise, also over restarts: they begin with the time, and above all that was ever seen.

    Args:
        wall: Unix seconds.
    """

    def __init__(self, placement: Placement, wall: Callable[[], float]) -> None:
        self._placement = placement
        self._wall = wall
        self._floor = 0
        self._view: DirectoryView | None = None
        self._changed = asyncio.Event()

    @property
    def view(self) -> DirectoryView | None:
        """The newest view; None before the first."""
        return self._view

    @property
    def version(self) -> int:
        """Of the newest view; 0 before the first."""
        return self._view.version if self._view is not None else 0

    def saw(self, version: int) -> None:
        """Somebody goes by a view of this version already: the next one will be newer."""
        self._floor = max(self._floor, version)
        if self._view is not None and version > self._view.version:
            self.publish(self._view.pooled, self._view.pins)

    def publish(self, pooled: tuple[str, ...], pins: Mapping[int, str]) -> DirectoryView:
        """Make this the newest view."""
        version = max(self._floor + 1, self.version + 1, int(self._wall() * 1000))
        self._view = DirectoryView(version, self._placement, pooled, dict(pins))
        self._changed.set()
        self._changed = asyncio.Event()
        return self._view

    async def newer(self, version: int, timeout_s: float) -> DirectoryView | None:
        """A view newer than ``version``, as soon as there is one; None if there is none in time."""
        self.saw(version)
        try:
            async with asyncio.timeout(timeout_s):
                while self._view is None or self._view.version <= version:
                    await self._changed.wait()
        except TimeoutError:
            return None
        return self._view
