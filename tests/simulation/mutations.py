"""Mutations: Seatline without one of its safeguards, which the simulation must detect."""

from __future__ import annotations

import asyncio
import contextlib
import enum
from collections.abc import Iterator, Mapping, MutableMapping, Sequence
from typing import Any, cast
from unittest import mock

from allocator.model.record import RecordKey
from allocator.model.section import Section
from allocator.ports import Changes, StoredAnswer
from allocator.turns import forwarding
from allocator.turns.decision import Decision
from allocator.turns.service import SectionService
from persistence.store.memory import MemoryTurn


class Mutation(enum.Enum):
    """What is taken out."""

    FENCE = "fence"
    STUDENT_LOCK = "student-lock"
    STORED_ANSWER = "stored-answer"
    APPLY_AFTER_COMMIT = "apply-after-commit"
    TURN_FINISHED = "turn-finished"
    FORWARDING_ENDS = "forwarding-ends"


@contextlib.contextmanager
def mutated(mutation: Mutation | None) -> Iterator[None]:
    """Run without a safeguard, or with all of them."""
    with contextlib.ExitStack() as patches:
        for target, name, replacement in _PATCHES.get(mutation, ()):
            patches.enter_context(mock.patch.object(target, name, replacement))
        yield


def _no_fence(_self: MemoryTurn, _changes: Changes) -> None:
    """Whoever commits may: neither epoch nor sequence number is looked at."""


def _no_lock(_self: MemoryTurn, key: RecordKey) -> None:
    """The record is read, but not held."""
    _self._locked.add(key)


async def _no_wait(self: MemoryTurn, key: RecordKey) -> None:
    self._take(key)


async def _no_answers(_self: MemoryTurn, _keys: Sequence[tuple[int, str]]) -> dict[tuple[int, str], StoredAnswer]:
    """Nothing was ever asked before."""
    return {}


_changes = Decision.changes
_hand_over = SectionService.hand_over


def _apply_at_once(self: Decision) -> Changes:
    """The drafts become the truth before they are committed."""
    sections = cast(MutableMapping[int, Section], self._sections)
    sections.update({draft.section_id: draft for draft in self.changed_sections()})
    return _changes(self)


async def _hand_over_at_once(self: SectionService, moves: Mapping[int, str]) -> int:
    """In the middle of whatever turn is at work."""
    lock, self._turn_lock = self._turn_lock, asyncio.Lock()
    handing_over = asyncio.ensure_future(_hand_over(self, moves))
    await asyncio.sleep(0)
    self._turn_lock = lock
    return await handing_over


_PATCHES: dict[Mutation | None, tuple[tuple[Any, str, Any], ...]] = {
    Mutation.FENCE: ((MemoryTurn, "check_fences", _no_fence),),
    Mutation.STUDENT_LOCK: ((MemoryTurn, "_take", _no_lock), (MemoryTurn, "_wait_for", _no_wait)),
    Mutation.STORED_ANSWER: ((MemoryTurn, "answers", _no_answers),),
    Mutation.TURN_FINISHED: ((SectionService, "hand_over", _hand_over_at_once),),
    Mutation.FORWARDING_ENDS: ((forwarding, "FORWARDING_S", 3600.0),),
    Mutation.APPLY_AFTER_COMMIT: ((Decision, "changes", _apply_at_once),),
}
