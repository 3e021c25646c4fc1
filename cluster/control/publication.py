"""The directory view: when it changes, the newest one, and those who wait for a newer."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping

from allocator.ports import Clock
from cluster.config.settings import Placement
from cluster.control.desired_state import members
from cluster.control.journal import DecisionKind, Journal
from cluster.control.model import Node
from cluster.control.names import placed
from cluster.control.observed_state import ObservedState
from cluster.gateway.directory import DirectoryView


class Publication:
    """Hands out directory views under rising versions.

    Versions rise over restarts of the controller, too: they begin with the time, and above all that were ever seen.

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
        """The version of the newest view; 0 before the first."""
        return self._view.version if self._view is not None else 0

    def saw(self, version: int) -> None:
        """Note that a view of this version is in use. The next one will have a higher version."""
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


class DirectoryPublisher:
    """Decides when the directory changes, and publishes the new view."""

    def __init__(self, placement: Placement, journal: Journal, clock: Clock) -> None:
        self._placement = placement
        self._journal = journal
        self._clock = clock
        self._publication = Publication(placement, clock.now)
        self._published_at = 0.0

    @property
    def view(self) -> DirectoryView | None:
        """The newest view; None before the first."""
        return self._publication.view

    @property
    def version(self) -> int:
        """The version of the newest view; 0 before the first."""
        return self._publication.version

    @property
    def age_s(self) -> float:
        """Seconds since the newest view was published."""
        return self._clock.monotonic() - self._published_at

    async def newer(self, version: int, timeout_s: float) -> DirectoryView | None:
        """A view newer than ``version``, as soon as there is one; None if there is none in time."""
        return await self._publication.newer(version, timeout_s)

    def restore(self, version: int, serving: tuple[str, ...], pins: Mapping[int, str]) -> None:
        """Begin where an earlier controller left off.

        Args:
            version: the highest that is known to have been published.
            serving: pooled actors that were found running. They may be of another generation: the first view is what
                serves now.
        """
        self._publication.saw(version)
        if serving:
            self._publish(serving, pins, "found running")

    def update(
        self, wanted: Mapping[str, Node], observed: ObservedState, pins: Mapping[int, str], draining: Mapping[str, str]
    ) -> None:
        """Publish a new view if other actors should share the sections, or if pins have changed.

        Args:
            wanted: the pooled section actors of the desired state.
            pins: actors by section id, for sections that have their own.
            draining: reasons by the labels of the nodes that are being drained.
        """
        view = self.view
        before = view.pooled if view is not None else ()
        found = members(wanted, observed.silent_s, before, observed.living, draining=draining)
        if view is None:
            if found.names or self._placement is Placement.DEDICATED:
                self._publish(found.names, pins, "the first")
        elif found.names != view.pooled or pins != view.pins:
            self._publish(found.names, pins, found.reason or "pins changed")

    def is_known_to_all(self, observed: ObservedState) -> bool:
        """Whether every API server that listens uses the newest view."""
        return all(observed.pulses[name].view_version >= self.version for name in observed.listening())

    def members_on(self, node: Node) -> list[str]:
        """Members of the directory on a node, if its label tells it from all others."""
        if self.view is None or not node.node_id.endswith(node.label):
            return []
        return [name for name in self.view.pooled if (found := placed(name)) is not None and found.label == node.label]

    def _publish(self, pooled: tuple[str, ...], pins: Mapping[int, str], reason: str) -> None:
        view = self._publication.publish(pooled, pins)
        self._published_at = self._clock.monotonic()
        self._journal.record(DecisionKind.VIEW, str(view.version), reason)
