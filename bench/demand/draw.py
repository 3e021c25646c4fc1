"""Demand at random: pairs of student and section, all of which can be granted.

Every section has one of a few weekly slots, and a student asks for at most one section of a slot. So nobody asks for a
section twice or for two that meet at the same time, and the distribution over sections is not distorted by that.
Students of a slot come in a rotated order, so that the requests of one student are far apart.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from itertools import accumulate
from typing import NamedTuple

SLOTS = 8
BLOCK = 4_096


class Pair(NamedTuple):
    """A request, as the indices of student and section."""

    student: int
    section: int


class Ask(NamedTuple):
    """A request before the number of students is known: the ``turn``-th for the slot of its section."""

    turn: int
    section: int


def slot_of(section: int) -> int:
    """The weekly slot of a section."""
    return section % SLOTS


class Demand:
    """Draws the requests of all rounds of a run; from them follows the number of students.

    Args:
        seed: of the random choices.
    """

    def __init__(self, seed: int) -> None:
        self._rng = random.Random(seed)
        self._turns = [0] * SLOTS

    def draw(self, sections: Sequence[int], count: int, skew: float = 0.0) -> list[Ask]:
        """Draw ``count`` requests.

        Args:
            sections: indices of the sections.
            count: how many requests.
            skew: of a Zipf distribution over sections; 0 for a uniform one. The ranks are drawn anew in every call.
        """
        return [self._ask(section) for section in self._choose(sections, count, skew)]

    def _choose(self, sections: Sequence[int], count: int, skew: float) -> Iterator[int]:
        ranked = self._rng.sample(sections, len(sections))
        weights = list(accumulate((rank + 1) ** -skew for rank in range(len(ranked))))
        for first in range(0, count, BLOCK):
            yield from self._rng.choices(ranked, cum_weights=weights, k=min(BLOCK, count - first))

    def _ask(self, section: int) -> Ask:
        slot = slot_of(section)
        turn = self._turns[slot]
        self._turns[slot] = turn + 1
        return Ask(turn, section)

    @property
    def students(self) -> int:
        """The number of students that is needed so that nobody asks twice in a slot."""
        return max(*self._turns, 1)


def pairs_of(asks: Sequence[Ask], students: int) -> list[Pair]:
    """The requests, given the number of students."""
    return [Pair((turn + slot_of(section) * students // SLOTS) % students, section) for turn, section in asks]
