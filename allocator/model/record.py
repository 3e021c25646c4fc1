"""A student's registration record: all of the student that a decision depends on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple, assert_never

from allocator.model.events import (
    EnrollmentEvent,
    PromotionBlocked,
    SeatFreed,
    SeatTaken,
    StudentPromoted,
    StudentWaitlisted,
    WaitlistLeft,
)


class RecordKey(NamedTuple):
    """Whose record, in which semester. Records are locked in the order of these."""

    student_id: int
    semester_id: int


@dataclass(slots=True)
class RegistrationRecord:
    """One student in one semester. Read and written only while its row is locked.

    Args:
        version: rises with every change, so that a change can be noticed.
        credits: the sum of the credits of the enrolled sections.
        credit_limit: how many credits the student may hold.
        enrolled: sections in which the student holds a seat.
        waitlisted: sections on whose waitlist the student is.
        completed: grade by completed course, in tenths of a grade point.
        holds: reasons why the student may not register (a fee, an advisor), empty for none.
        opens_at, closes_at: the student's own window, Unix seconds; None is unbounded.
    """

    key: RecordKey
    version: int
    credits: int
    credit_limit: int
    enrolled: list[int]
    waitlisted: list[int]
    completed: Mapping[int, int] = field(default_factory=dict)
    holds: tuple[str, ...] = ()
    opens_at: float | None = None
    closes_at: float | None = None

    def copy(self) -> RegistrationRecord:
        """An independent copy of what a decision changes."""
        return RegistrationRecord(
            self.key,
            self.version,
            self.credits,
            self.credit_limit,
            self.enrolled.copy(),
            self.waitlisted.copy(),
            self.completed,
            self.holds,
            self.opens_at,
            self.closes_at,
        )

    def apply(self, event: EnrollmentEvent) -> None:
        """Change the record as ``event`` says, which is about this student and a section of this semester.

        A section and a record change by the same events. A seat ends the place on the same section's waitlist.

        Raises:
            ValueError: if the event ends what the student does not have.
        """
        match event:
            case SeatTaken():
                self.enrolled.append(event.section_id)
                self.credits += event.credits
            case StudentPromoted():
                self.waitlisted.remove(event.section_id)
                self.enrolled.append(event.section_id)
                self.credits += event.credits
            case StudentWaitlisted():
                self.waitlisted.append(event.section_id)
            case SeatFreed():
                self.enrolled.remove(event.section_id)
                self.credits -= event.credits
            case WaitlistLeft():
                self.waitlisted.remove(event.section_id)
            case PromotionBlocked():
                return
            case _:
                assert_never(event)
        self.version += 1
