"""Semesters, courses and sections."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Annotated

from msgspec import Meta, Struct

from allocator.model.read_models import Course, CourseSummary, Requisite, RoomedMeeting, SectionView, Semester
from api.schemas.types import FilterText, TimeOfDay, time_of_day, week_numbers


class SemesterQuery(Struct, frozen=True):
    """Which semester, by its code in any case, or its id."""

    semester: FilterText | None = None


class CourseQuery(Struct, frozen=True):
    """Which courses, and how many. ``cursor`` comes from the page before.

    ``q`` is looked for in codes and titles, in any case, with or without accents; mat101 and MAT-101 find MAT 101.
    """

    semester: FilterText | None = None
    department: FilterText | None = None
    q: FilterText | None = None
    limit: Annotated[int, Meta(ge=1, le=200)] = 50
    cursor: Annotated[str, Meta(max_length=512)] | None = None


class SemesterReply(Struct, frozen=True):
    """A semester. It is ``current`` until its last week is over."""

    id: int
    code: str
    name: str
    current: bool
    registration_opens_at: datetime | None
    registration_closes_at: datetime | None

    @classmethod
    def of(cls, semester: Semester) -> SemesterReply:
        """A semester, as clients see it."""
        return cls(
            id=semester.id,
            code=semester.code,
            name=semester.name,
            current=semester.is_current,
            registration_opens_at=semester.registration_opens_at,
            registration_closes_at=semester.registration_closes_at,
        )


class SemesterList(Struct, frozen=True):
    """All semesters, the newest first."""

    items: list[SemesterReply]


class CourseItem(Struct, frozen=True):
    """A course in a list."""

    id: int
    code: str
    title: str
    department: str

    @classmethod
    def of(cls, course: CourseSummary) -> CourseItem:
        """A course, as a list shows it."""
        return cls(course.id, course.code, course.title, course.department)


class CourseList(Struct, frozen=True):
    """A page of courses. ``next_cursor`` is null on the last page."""

    items: list[CourseItem]
    next_cursor: str | None


class RequisiteReply(Struct, frozen=True):
    """A course that another requires. ``min_grade`` is in grade points, null if any passing grade is enough."""

    course_id: int
    code: str
    kind: str
    min_grade: float | None

    @classmethod
    def of(cls, requisite: Requisite) -> RequisiteReply:
        """A requisite, as clients see it."""
        tenths = requisite.min_grade_tenths
        return cls(requisite.course_id, requisite.code, requisite.kind, None if tenths is None else tenths / 10)


class CourseReply(Struct, frozen=True):
    """A course in full."""

    id: int
    code: str
    title: str
    description: str
    department: str
    department_name: str
    requisites: list[RequisiteReply]

    @classmethod
    def of(cls, course: Course) -> CourseReply:
        """A course, as clients see it."""
        return cls(
            id=course.id,
            code=course.code,
            title=course.title,
            description=course.description,
            department=course.department,
            department_name=course.department_name,
            requisites=[RequisiteReply.of(one) for one in course.requisites],
        )


class MeetingReply(Struct, frozen=True):
    """A weekly meeting, in local time. ``weekday`` 0 is Monday; ``weeks`` are weeks of the term, the first being 1."""

    weekday: Annotated[int, Meta(ge=0, le=6)]
    start: TimeOfDay
    end: TimeOfDay
    weeks: list[int]
    room: str | None

    @classmethod
    def of(cls, meeting: RoomedMeeting) -> MeetingReply:
        """A meeting, as clients see it."""
        return cls(
            weekday=meeting.weekday,
            start=time_of_day(meeting.start_minute),
            end=time_of_day(meeting.end_minute),
            weeks=week_numbers(meeting.weeks),
            room=meeting.room,
        )


class SectionReply(Struct, frozen=True):
    """A section, its seats and its meetings. ``waitlist_limit`` is null where the waitlist has no limit."""

    id: int
    course_id: int
    course_code: str
    course_title: str
    semester_id: int
    semester: str
    code: str
    component: str
    credits: int
    capacity: int
    enrolled: int
    available: int
    waitlisted: int
    waitlist_limit: int | None
    is_open: bool
    teacher: str | None
    meetings: list[MeetingReply]

    @classmethod
    def of(cls, section: SectionView) -> SectionReply:
        """A section, as clients see it."""
        return cls(
            id=section.id,
            course_id=section.course_id,
            course_code=section.course_code,
            course_title=section.course_title,
            semester_id=section.semester_id,
            semester=section.semester,
            code=section.code,
            component=section.component,
            credits=section.credits,
            capacity=section.capacity,
            enrolled=section.enrolled,
            available=section.available,
            waitlisted=section.waitlisted,
            waitlist_limit=section.waitlist_limit,
            is_open=section.is_open,
            teacher=section.teacher,
            meetings=[MeetingReply.of(one) for one in section.meetings],
        )


class SectionList(Struct, frozen=True):
    """The sections of a course."""

    items: list[SectionReply]

    @classmethod
    def of(cls, sections: Sequence[SectionView]) -> SectionList:
        """Sections, as clients see them."""
        return cls([SectionReply.of(one) for one in sections])
