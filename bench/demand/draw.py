"""Who asks for what: requests that could all be granted, so that a peer's speed and not its luck is measured.

Every section has one of a few weekly slots, and a student asks for at most one section of a slot. So nobody asks for a
section twice or for two that meet at one time, whatever the distribution over sections, which stays exactly what it is.
Students of a slot come in a rotated order, so that one student's requests lie far apart.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from itertools import accumulate
from typing import NamedTuple

SLOTS = 8
BLOCK = 4_096


class Pair(NamedTuple):
    """A student and a section, as indices."""

    student: int
    section: int


class Ask(NamedTuple):
    """A request before it is known how many students there are: the ``turn``-th for its section's slot."""

    turn: int
    section: int


def slot_of(section: int) -> int:
    """The weekly slot of a section."""
    return section % SLOTS


class Demand:
    """Draws the requests of all rounds of a run; then it is known how many students they take.

    Args:
        seed: of the choice of sections.
    """

    def __init__(self, seed: int) -> None:
        self._rng = random.Random(seed)
        self._turns = [0] * SLOTS

    def draw(self, sections: Sequence[int], count: int, skew: float = 0.0) -> list[Ask]:
        """So many requests for some sections.

        Args:
            sections: indices.
            skew: 0 asks for all alike; else demand for the section of rank r falls as ``r ** -skew``. Which section
                has which rank is drawn anew every time.
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
        """How many students it takes so that nobody asks twice in a slot."""
        return max(*self._turns, 1)


def pairs_of(asks: Sequence[Ask], students: int) -> list[Pair]:
    """The requests, once it is known how many students there are."""
    return [Pair((turn + slot_of(section) * students // SLOTS) % students, section) for turn, section in asks]
