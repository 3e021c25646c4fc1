"""The rush at the opening of registration: all students at once; and how fairly seats were given."""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Sequence
from typing import Any

from bench.demand.bench_term import BenchTerm, TokenBook
from bench.demand.workloads import ENROLLMENTS
from bench.load.sources import PreparedRequests
from cluster.clients.http import Target, post

SECTIONS = 100
SEATS_SHARE = 0.7
"""Seats per student: nearly every section gets a waitlist."""


class Rush:
    """The requests of each round. Every round has sections and students of its own.

    Args:
        students: number of students in each round.
        rounds: number of rounds.
        seed: of the random choices.
    """

    def __init__(self, students: int, rounds: int, seed: int) -> None:
        self.students = students
        self.rounds = rounds
        self._seed = seed

    def capacities(self) -> list[int]:
        """The capacities of the sections of all rounds."""
        return [max(1, int(self.students * SEATS_SHARE / SECTIONS))] * (SECTIONS * self.rounds)

    def wanted(self, turn: int) -> list[int]:
        """The index of the section that each student asks for."""
        rng = random.Random(self._seed + turn)
        return [turn * SECTIONS + rng.randrange(SECTIONS) for _ in range(self.students)]

    def source(self, turn: int, term: BenchTerm, tokens: TokenBook, target: Target) -> RecordedRequests:
        """The requests of a round."""
        wanted = self.wanted(turn)
        requests = [
            post(
                target, ENROLLMENTS, tokens.token(turn * self.students + number), f"spike-{turn}-{number}",
                b'{"section_id":%d}' % term.section_ids[section],
            )
            for number, section in enumerate(wanted)
        ]  # fmt: skip
        return RecordedRequests(requests, wanted)


class RecordedRequests(PreparedRequests):
    """Prepared requests, with the outcome of each."""

    def __init__(self, requests: Sequence[bytes], sections: Sequence[int]) -> None:
        super().__init__(requests)
        self._sections = sections
        self._seated: dict[int, bool] = {}

    def answered(self, number: int, status: int, body: bytes) -> None:
        """See ``bench.load.sources.Source``."""
        if status == 201:
            self._seated[number] = b'"enrolled"' in body

    def fairness(self) -> dict[str, Any]:
        """Of the pairs of students of whom one got a seat of a section and one did not: how often it was the later one.

        0 is strictly first come, first served, 0.5 is a lottery. Requests that are under way at once have no order for
        the server, so the order in which the client sent them is never kept exactly.
        """
        by_section: dict[int, list[bool]] = defaultdict(list)
        for number in sorted(self._seated):
            by_section[self._sections[number]].append(self._seated[number])
        turned, pairs = 0, 0
        for seated in by_section.values():
            left_out_before = 0
            for one in seated:
                if one:
                    turned += left_out_before
                else:
                    left_out_before += 1
            pairs += seated.count(True) * seated.count(False)
        return {"pairs": pairs, "later_got_the_seat": round(turned / pairs, 4) if pairs else 0.0}
