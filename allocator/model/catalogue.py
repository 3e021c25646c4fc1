"""Static facts of a section: what changes by an import, never by a registration."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple


class Meeting(NamedTuple):
    """One weekly meeting. ``weekday`` is 0 for Monday; minutes count from midnight, local time, the end exclusive.

    ``weeks`` is a bit mask of the weeks of term in which it happens, bit 0 being the first week.
    """

    weekday: int
    start_minute: int
    end_minute: int
    weeks: int

    def overlaps(self, other: Meeting) -> bool:
        """Whether both happen at one time on one day of one week."""
        return (
            self.weekday == other.weekday
            and self.weeks & other.weeks != 0
            and self.start_minute < other.end_minute
            and other.start_minute < self.end_minute
        )


class Prerequisite(NamedTuple):
    """A course that must be completed first.

    ``min_grade`` is in tenths of a grade point (20 is a C), None for any pass.
    """

    course_id: int
    min_grade: int | None


class Term(NamedTuple):
    """A semester and when students may register in it (Unix seconds; None is unbounded)."""

    semester_id: int
    opens_at: float | None
    closes_at: float | None


class SectionFacts(NamedTuple):
    """All that the rules need to know of a section beside its seats."""

    section_id: int
    course_id: int
    component: str
    credits: int
    waitlist_limit: int | None
    term: Term
    meetings: tuple[Meeting, ...]
    prerequisites: tuple[Prerequisite, ...]
    corequisites: tuple[int, ...]


def meetings_overlap(some: Iterable[Meeting], others: tuple[Meeting, ...]) -> bool:
    """Whether any of ``some`` overlaps any of ``others``."""
    # Two loops: asked for every section that a student holds, and generators would cost as much as comparing.
    for one in some:
        for other in others:
            if one.overlaps(other):
                return True
    return False
