"""Handover of sections between actors: the old owner releases them, the new one activates them, in portions.

The new directory view is published first. A request that comes in between takes more hops, but gets its answer: the
new owner sends it back to the holder of the lease, and the old one, after its release, sends it on to the new.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from cluster.gateway.errors import ActorLostError

log = logging.getLogger(__name__)

CallHandOver = Callable[[str, Mapping[int, str]], Awaitable[int]]
"""``SectionActor.hand_over`` of the named actor. Raises ``ActorLostError`` if no answer came."""
CallTake = Callable[[str, Sequence[int]], Awaitable[int]]
"""``SectionActor.take`` of the named actor. Raises ``ActorLostError`` if no answer came."""

PORTION = 200
"""How many sections are handed over at a time between two actors."""
CALL_TIMEOUT_S = 5.0
"""After so long an actor counts as silent. A turn ends sooner, even while the database hangs."""


@dataclass(slots=True)
class HandoverResult:
    """The result of a handover.

    Args:
        handed: sections that were active at their old owners and were released.
        taken: sections that were activated at their new owners. The others are activated by their first request.
        silent: actors that did not answer. Sections of a silent old owner are activated once its leases have ended;
            sections that were to go to a silent new owner have stayed where they are.
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
) -> HandoverResult:
    """Carry out moves, between all pairs of actors concurrently. May be cancelled at any point, and repeated.

    Args:
        moves_by_owner: new owners by section id, by old owner.
        portion: sections that are handed over at a time between two actors.
        timeout_s: for each call to an actor.
    """
    result = HandoverResult()

    async def between(old: str, new: str, section_ids: list[int]) -> None:
        for some in _portions(section_ids, portion):
            if new in result.silent:
                return
            if old not in result.silent:
                handed = await ask(old, call_hand_over(old, dict.fromkeys(some, new)))
                result.handed += handed
            taken = await ask(new, call_take(new, some))
            result.taken += taken

    async def ask(name: str, call: Awaitable[int]) -> int:
        try:
            async with asyncio.timeout(timeout_s):
                return await call
        except (ActorLostError, TimeoutError) as error:
            log.warning("%s does not answer; its sections move without it: %s", name, error)
            result.silent.add(name)
            return 0

    async with asyncio.TaskGroup() as pairs:
        for old, moves in moves_by_owner.items():
            for new, section_ids in _by_new_owner(old, moves).items():
                pairs.create_task(between(old, new, section_ids))
    return result


def _by_new_owner(old: str, moves: Mapping[int, str]) -> dict[str, list[int]]:
    found: dict[str, list[int]] = {}
    for section_id, new in moves.items():
        if new != old:
            found.setdefault(new, []).append(section_id)
    return found


def _portions(section_ids: list[int], size: int) -> Iterator[list[int]]:
    for start in range(0, len(section_ids), size):
        yield section_ids[start : start + size]
