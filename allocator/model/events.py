"""What happened in a section, in order. The history is these events; the tables follow from them.

Every event carries the ``seq`` that its section gave it: 1, 2, 3 and so on without gaps.
"""

from __future__ import annotations

from typing import NamedTuple


class SectionCreated(NamedTuple):
    """A section came into the catalogue with this many seats."""

    section_id: int
    seq: int
    capacity: int


class SeatTaken(NamedTuple):
    """A student got a seat directly."""

    section_id: int
    seq: int
    student_id: int
    enrollment_id: int
    credits: int


class StudentWaitlisted(NamedTuple):
    """A student got a place on the waitlist."""

    section_id: int
    seq: int
    student_id: int
    enrollment_id: int
    place: int


class StudentPromoted(NamedTuple):
    """A waiting student got a seat."""

    section_id: int
    seq: int
    student_id: int
    enrollment_id: int
    place: int
    credits: int


class PromotionBlocked(NamedTuple):
    """A seat was free, but the waiting student may not have it now. They keep their place.

    ``record_version`` is the version of the student's record that did not allow it.
    """

    section_id: int
    seq: int
    student_id: int
    enrollment_id: int
    place: int
    record_version: int
    reasons: tuple[str, ...]


class SeatFreed(NamedTuple):
    """A student gave up a seat, and with it these credits."""

    section_id: int
    seq: int
    student_id: int
    enrollment_id: int
    credits: int


class WaitlistLeft(NamedTuple):
    """A student gave up a place on the waitlist."""

    section_id: int
    seq: int
    student_id: int
    enrollment_id: int
    place: int


class CapacityChanged(NamedTuple):
    """Staff set the number of seats."""

    section_id: int
    seq: int
    capacity: int
    by_user_id: int | None


class SectionClosed(NamedTuple):
    """Staff closed the section to newcomers."""

    section_id: int
    seq: int
    by_user_id: int | None


class SectionOpened(NamedTuple):
    """Staff opened the section again."""

    section_id: int
    seq: int
    by_user_id: int | None


Event = (
    SectionCreated
    | SeatTaken
    | StudentWaitlisted
    | StudentPromoted
    | PromotionBlocked
    | SeatFreed
    | WaitlistLeft
    | CapacityChanged
    | SectionClosed
    | SectionOpened
)

EnrollmentEvent = SeatTaken | StudentWaitlisted | StudentPromoted | PromotionBlocked | SeatFreed | WaitlistLeft
