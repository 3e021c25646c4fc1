"""Brings sections to where the directory says: whatever is active elsewhere is handed over. Level-triggered, so that
what a controller left half-way is finished by the next."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from dataclasses import dataclass

from cluster.control.ports import Cluster
from cluster.gateway.directory import DirectoryView, place
from cluster.gateway.gateway import ActorLostError
from cluster.gateway.handover import hand_over


@dataclass(frozen=True, slots=True)
class Settled:
    """Args:
    misplaced: sections that were active where they should not be.
    handed, taken: of those, how many were let go, and how many are active at their new owners.
    silent: actors that did not answer.
    """

    misplaced: int = 0
    handed: int = 0
    taken: int = 0
    silent: frozenset[str] = frozenset()


async def settle(cluster: Cluster, view: DirectoryView, actors: Iterable[str]) -> Settled:
    """Move what is misplaced among the section actors of these names."""
    names = list(actors)
    found = await asyncio.gather(*(_misplaced(cluster, view, name) for name in names))
    silent = frozenset(name for name, moves in zip(names, found, strict=True) if moves is None)
    by_owner = {name: moves for name, moves in zip(names, found, strict=True) if moves}
    if not by_owner:
        return Settled(silent=silent)
    handoff = await hand_over(by_owner, cluster.hand_over, cluster.take)
    misplaced = sum(len(moves) for moves in by_owner.values())
    return Settled(misplaced, handoff.handed, handoff.taken, silent | handoff.silent)


async def _misplaced(cluster: Cluster, view: DirectoryView, name: str) -> dict[int, str] | None:
    """New owners of the sections that an actor should not have; None if it does not say."""
    try:
        active = await cluster.active_sections(name)
    except (ActorLostError, TimeoutError):
        return None
    owners = {section_id: place(view, section_id) for section_id in active}
    return {section_id: owner for section_id, owner in owners.items() if owner is not None and owner != name}
