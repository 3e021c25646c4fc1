"""Misplaced sections: active in another actor than the directory says. They are handed over to the right one.

Level-triggered: what one controller leaves half-way, the next one finishes.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from cluster.control.journal import DecisionKind, Journal
from cluster.control.ports import Cluster
from cluster.gateway.directory import DirectoryView, owner_in
from cluster.gateway.errors import ActorLostError
from cluster.gateway.handover import hand_over

INTERVAL_S = 10.0
"""Between searches for misplaced sections while the view does not change and none are found."""


@dataclass(frozen=True, slots=True)
class MovedSections:
    """The result of one search for misplaced sections.

    Args:
        misplaced: sections that were active in the wrong actor.
        handed, taken: how many of those were released there, and how many are active at their owners since.
        silent: actors that did not answer.
    """

    misplaced: int = 0
    handed: int = 0
    taken: int = 0
    silent: frozenset[str] = frozenset()


async def move_misplaced(cluster: Cluster, view: DirectoryView, actors: Iterable[str]) -> MovedSections:
    """Find the misplaced sections in these section actors, and hand them over to their owners."""
    names = list(actors)
    found = await asyncio.gather(*(_misplaced(cluster, view, name) for name in names))
    silent = frozenset(name for name, moves in zip(names, found, strict=True) if moves is None)
    by_owner = {name: moves for name, moves in zip(names, found, strict=True) if moves}
    if not by_owner:
        return MovedSections(silent=silent)
    result = await hand_over(by_owner, cluster.hand_over, cluster.take)
    misplaced = sum(len(moves) for moves in by_owner.values())
    return MovedSections(misplaced, result.handed, result.taken, silent | result.silent)


async def _misplaced(cluster: Cluster, view: DirectoryView, name: str) -> dict[int, str] | None:
    """The misplaced sections of one actor with their owners; None if it does not answer."""
    try:
        active = await cluster.active_sections(name)
    except (ActorLostError, TimeoutError):
        return None
    owners = {section_id: owner_in(view, section_id) for section_id in active}
    return {section_id: owner for section_id, owner in owners.items() if owner is not None and owner != name}


class Rebalancer:
    """Moves misplaced sections until none is found, and then searches again from time to time.

    Args:
        monotonic: seconds that never go back.
    """

    def __init__(self, cluster: Cluster, journal: Journal, monotonic: Callable[[], float]) -> None:
        self._cluster = cluster
        self._journal = journal
        self._monotonic = monotonic
        self._checked: DirectoryView | None = None
        self._checked_at = 0.0
        self.last = MovedSections()
        """The last search that found any."""

    def is_due(self, view: DirectoryView) -> bool:
        """Whether to search now: the view is new, the last search found some, or it was long ago."""
        return view is not self._checked or self._monotonic() - self._checked_at >= INTERVAL_S

    async def move(self, view: DirectoryView, actors: Iterable[str]) -> MovedSections:
        """Search these section actors for misplaced sections, and hand them over."""
        started = self._monotonic()
        moved = await move_misplaced(self._cluster, view, actors)
        if moved.misplaced:
            self.last = moved
            took_s = self._monotonic() - started
            what = f"{moved.handed} handed over, {moved.taken} taken, in {took_s:.2f} s"
            self._journal.record(DecisionKind.MOVE, f"{moved.misplaced} sections", f"view {view.version}: {what}")
        else:
            self._checked, self._checked_at = view, self._monotonic()
        return moved
