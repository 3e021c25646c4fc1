"""Moving sections from actor to actor: the old owner lets go, the new one takes, a portion at a time.

The directory's new view is published before. Between the steps a request that reaches the new owner first is sent
back to the old one by the lease, and after them to the new one by the old: it costs it hops, never an answer.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from cluster.gateway.gateway import ActorLostError

log = logging.getLogger(__name__)

CallHandOver = Callable[[str, Mapping[int, str]], Awaitable[int]]
"""``SectionActor.hand_over`` of the named actor. Raises ``ActorLostError`` if no answer came."""
CallTake = Callable[[str, Sequence[int]], Awaitable[int]]
"""``SectionActor.take`` of the named actor. Raises ``ActorLostError`` if no answer came."""

PORTION = 200
"""Sections of one pair of actors that are on their way at a time."""
CALL_TIMEOUT_S = 5.0
"""Longer than a turn takes while its database hangs; then the actor counts as silent."""


@dataclass(slots=True)
class Handoff:
    """What came of it.

    Args:
        handed: sections that were active at their old owners and were let go.
        taken: sections that are active at their new owners since. The rest becomes active with its first request.
        silent: actors that did not answer. What should come from one of them is taken once its leases have ended;
            what should go to one of them and is still active elsewhere has stayed there.
    """

    handed: int = 0
    taken: int = 0
    silent: set[str] = field(default_factory=set)


async def hand_over(
    moves_by_owner: Mapping[str, Mapping[int, str]],
    call_hand_over: CallHandOver,
    call_take: CallTake,
    *,
    portion: int = PORTION,
    timeout_s: float = CALL_TIMEOUT_S,
) -> Handoff:
    """Carry out moves, all pairs of actors side by side. May be broken off at any point, and done again.

    Args:
        moves_by_owner: new owners by section id, by old owner.
    """
    handoff = Handoff()

    async def between(old: str, new: str, section_ids: list[int]) -> None:
        for some in _portions(section_ids, portion):
            if new in handoff.silent:
                return
            if old not in handoff.silent:
                handed = await ask(old, call_hand_over(old, dict.fromkeys(some, new)))
                handoff.handed += handed
            taken = await ask(new, call_take(new, some))
            handoff.taken += taken

    async def ask(name: str, call: Awaitable[int]) -> int:
        try:
            async with asyncio.timeout(timeout_s):
                return await call
        except (ActorLostError, TimeoutError) as error:
            log.warning("%s does not answer; its sections move without it: %s", name, error)
            handoff.silent.add(name)
            return 0

    async with asyncio.TaskGroup() as pairs:
        for old, moves in moves_by_owner.items():
            for new, section_ids in _by_new_owner(old, moves).items():
                pairs.create_task(between(old, new, section_ids))
    return handoff


def _by_new_owner(old: str, moves: Mapping[int, str]) -> dict[str, list[int]]:
    found: dict[str, list[int]] = {}
    for section_id, new in moves.items():
        if new != old:
            found.setdefault(new, []).append(section_id)
    return found


def _portions(section_ids: list[int], size: int) -> Iterator[list[int]]:
    for start in range(0, len(section_ids), size):
        yield section_ids[start : start + size]
