"""The requests of a run on a live Seatline, made before it: pairs of student and section that are new."""

from __future__ import annotations

import random
import uuid
from collections.abc import Callable, Iterator
from itertools import accumulate

from bench.demand.bench_term import BenchTerm
from bench.measuring.options import CONNECTIONS_MAX
from cluster.cli.tokens import KnownStudent
from cluster.clients.http import Target, post

SECTIONS_PER_STUDENT = 5
BLOCK_STUDENTS = CONNECTIONS_MAX
"""Students whose requests are interleaved: each sends a first one, then each a second, and so on. As many as there are
connections at most, so that no student has two requests under way; no more, so that a run uses up few of them."""


def students_needed(request_count: int, section_count: int) -> int:
    """The number of students for so many requests."""
    per_student = min(SECTIONS_PER_STUDENT, section_count)
    blocks = -(-request_count // (BLOCK_STUDENTS * per_student))
    return blocks * BLOCK_STUDENTS


def pairs(student_count: int, section_count: int, skew: float, seed: int) -> Iterator[tuple[int, int]]:
    """Indices of student and section in the order of sending; no pair twice.

    Args:
        skew: of a Zipf distribution over sections; 0 for a uniform one.
    """
    rng = random.Random(seed)
    choose = _chooser(rng, section_count, skew)
    for first in range(0, student_count, BLOCK_STUDENTS):
        block = range(first, min(first + BLOCK_STUDENTS, student_count))
        wanted = [choose() for _ in block]
        for turn in range(min(SECTIONS_PER_STUDENT, section_count)):
            for student, sections in zip(block, wanted, strict=True):
                yield student, sections[turn]


def _chooser(rng: random.Random, section_count: int, skew: float) -> Callable[[], list[int]]:
    per_student = min(SECTIONS_PER_STUDENT, section_count)
    everything = range(section_count)
    if skew == 0:
        return lambda: rng.sample(everything, per_student)
    weights = list(accumulate((rank + 1) ** -skew for rank in everything))

    def choose() -> list[int]:
        found: dict[int, None] = {}
        while len(found) < per_student:
            found.update(dict.fromkeys(rng.choices(everything, cum_weights=weights, k=per_student)))
        return list(found)[:per_student]

    return choose


def build(
    target: Target, term: BenchTerm, token: Callable[[KnownStudent], str], count: int, *, skew: float, seed: int
) -> list[bytes]:
    """The first ``count`` requests as bytes, each with an Idempotency-Key of its own."""
    heads: dict[int, str] = {}
    run = uuid.uuid4().hex[:16]
    requests: list[bytes] = []
    for number, (student, section) in enumerate(pairs(len(term.students), len(term.section_ids), skew, seed)):
        if number == count:
            break
        if student not in heads:
            heads[student] = token(term.students[student])
        body = b'{"section_id":%d}' % term.section_ids[section]
        requests.append(post(target, "/api/enrollments", heads[student], f"{run}-{number}", body))
    return requests
