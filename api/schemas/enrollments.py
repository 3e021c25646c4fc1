"""Enrolments, and a student's timetable."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Literal

from msgspec import Struct

from allocator.model.outcomes import Outcome
from allocator.model.read_models import EnrollmentView, RoomedMeeting, ScheduledSection
from api.schemas.types import Id, TimeOfDay, time_of_day, week_numbers

Status = Literal["enrolled", "waitlisted", "dropped"]


class EnrollRequest(Struct, frozen=True, forbid_unknown_fields=True):
    """Asks for a seat in a section, or for a place on its waitlist unless ``join_waitlist`` is false."""

    section_id: Id
    join_waitlist: bool = True


class EnrolledReply(Struct, frozen=True):
    """A seat or a place. ``place`` never changes; ``waitlist_position`` is 1 for the student who is next."""

    id: int
    section_id: int
    status: str
    waitlist_position: int | None
    place: int | None

    @classmethod
    def of(cls, outcome: Outcome, enrollment_id: int) -> EnrolledReply:
        """The outcome of an Enroll that gave something."""
        return cls(enrollment_id, outcome.section_id, outcome.code.value, outcome.position, outcome.place)


class DroppedReply(Struct, frozen=True):
    """The enrolment has ended."""

    id: int
    status: Literal["dropped"] = "dropped"


class EnrollmentReply(Struct, frozen=True):
    """An enrolment. ``blocked_by`` has the codes of the reasons that last kept a waiting student from a free seat."""

    id: int
    section_id: int
    semester_id: int
    semester: str
    course_code: str
    course_title: str
    section_code: str
    component: str
    credits: int
    status: Status
    waitlist_position: int | None
    place: int | None
    blocked_by: list[str]
    created_at: datetime
    updated_at: datetime

    @classmethod
    def of(cls, view: EnrollmentView, position: int | None = None) -> EnrollmentReply:
        """An enrolment, as its student sees it."""
        return cls(
            id=view.id,
            section_id=view.section_id,
            semester_id=view.semester_id,
            semester=view.semester,
            course_code=view.course_code,
            course_title=view.course_title,
            section_code=view.section_code,
            component=view.component,
            credits=view.credits,
            status=view.status,  # type: ignore[arg-type]  # an enum in Postgres
            waitlist_position=position,
            place=view.place,
            blocked_by=list(view.blocked_by),
            created_at=view.created_at,
            updated_at=view.updated_at,
        )


class EnrollmentList(Struct, frozen=True):
    """The seats and places that a student holds."""

    items: list[EnrollmentReply]


class TimetableEntry(Struct, frozen=True):
    """One weekly meeting in a timetable."""

    section_id: int
    semester: str
    course_code: str
    course_title: str
    section_code: str
    component: str
    start: TimeOfDay
    end: TimeOfDay
    weeks: list[int]
    room: str | None

    @classmethod
    def of(cls, section: ScheduledSection, meeting: RoomedMeeting) -> TimetableEntry:
        """A meeting of a section."""
        return cls(
            section_id=section.section_id,
            semester=section.semester,
            course_code=section.course_code,
            course_title=section.course_title,
            section_code=section.section_code,
            component=section.component,
            start=time_of_day(meeting.start_minute),
            end=time_of_day(meeting.end_minute),
            weeks=week_numbers(meeting.weeks),
            room=meeting.room,
        )


class TimetableDay(Struct, frozen=True):
    """The meetings of one day, in order. ``weekday`` 0 is Monday."""

    weekday: int
    name: str
    meetings: list[TimetableEntry]


class UntimedSection(Struct, frozen=True):
    """A section that meets at no set time."""

    section_id: int
    semester: str
    course_code: str
    course_title: str
    section_code: str
    component: str


class TimetableReply(Struct, frozen=True):
    """A week of seven days, Monday first, and the sections that meet at no set time."""

    days: list[TimetableDay]
    untimed: list[UntimedSection]


DAY_NAMES = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")


def timetable_of(sections: Sequence[ScheduledSection]) -> TimetableReply:
    """The timetable of these sections."""
    timed = sorted(
        ((meeting, section) for section in sections for meeting in section.meetings),
        key=lambda pair: (pair[0].weekday, pair[0].start_minute, pair[0].end_minute, pair[1].section_id),
    )
    days = [
        TimetableDay(
            weekday, name, [TimetableEntry.of(section, one) for one, section in timed if one.weekday == weekday]
        )
        for weekday, name in enumerate(DAY_NAMES)
    ]
    untimed = [
        UntimedSection(one.section_id, one.semester, one.course_code, one.course_title, one.section_code, one.component)
        for one in sections
        if not one.meetings
    ]
    return TimetableReply(days, untimed)
