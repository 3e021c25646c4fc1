"""What can be read of a campus: values that the queries in persistence/ make and the API in api/ shows."""

from __future__ import annotations

import enum
from dataclasses import dataclass
from datetime import datetime


class Role(enum.StrEnum):
    """What a user may do."""

    STUDENT = "student"
    TEACHER = "teacher"
    ADMIN = "admin"


@dataclass(frozen=True, slots=True)
class Account:
    """A user who can log in. ``student_id`` and ``student_number`` are set for students only."""

    user_id: int
    email: str
    name: str
    role: Role
    password_hash: str | None
    is_disabled: bool
    student_id: int | None = None
    student_number: str | None = None


class RefusedRefresh(enum.StrEnum):
    """Why a refresh token was not exchanged."""

    UNKNOWN = "unknown"
    EXPIRED = "expired"
    REVOKED = "revoked"
    REUSED = "reused"
    DISABLED = "disabled"


@dataclass(frozen=True, slots=True)
class Semester:
    """A term. It is current until its last week is over; without a first day it always is."""

    id: int
    code: str
    name: str
    is_current: bool
    registration_opens_at: datetime | None
    registration_closes_at: datetime | None


@dataclass(frozen=True, slots=True)
class CourseSummary:
    """A course as a list shows it."""

    id: int
    code: str
    title: str
    department: str


@dataclass(frozen=True, slots=True)
class Requisite:
    """A course that must be completed before another (or taken with it, if ``kind`` is ``corequisite``)."""

    course_id: int
    code: str
    kind: str
    min_grade_tenths: int | None


@dataclass(frozen=True, slots=True)
class Course:
    """A course in full."""

    id: int
    code: str
    title: str
    description: str
    department: str
    department_name: str
    requisites: tuple[Requisite, ...]


@dataclass(frozen=True, slots=True)
class RoomedMeeting:
    """A weekly meeting and its room.

    Minutes count from midnight; ``weeks`` is a bit mask of the weeks of term, bit 0 being the first.
    """

    weekday: int
    start_minute: int
    end_minute: int
    weeks: int
    room: str | None


@dataclass(frozen=True, slots=True)
class SectionView:
    """A section with its seats and meetings. ``seq`` is that of its last event: of two views the higher is newer."""

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
    waitlisted: int
    waitlist_limit: int | None
    is_open: bool
    teacher: str | None
    meetings: tuple[RoomedMeeting, ...]
    seq: int = 0

    @property
    def available(self) -> int:
        """Seats that nobody holds. After a cut below the students already in there are none, not fewer than none."""
        return max(0, self.capacity - self.enrolled)


@dataclass(frozen=True, slots=True)
class EnrollmentView:
    """An enrolment, with enough of its section to show it in a list."""

    id: int
    student_id: int
    section_id: int
    semester_id: int
    semester: str
    course_code: str
    course_title: str
    section_code: str
    component: str
    credits: int
    status: str
    place: int | None
    blocked_by: tuple[str, ...]
    created_at: datetime
    updated_at: datetime


@dataclass(frozen=True, slots=True)
class ScheduledSection:
    """A section in which a student holds a seat, as their timetable shows it."""

    section_id: int
    semester: str
    course_code: str
    course_title: str
    section_code: str
    component: str
    meetings: tuple[RoomedMeeting, ...]


@dataclass(frozen=True, slots=True)
class RosterEntry:
    """One student of a section. ``place`` is set for those who wait."""

    enrollment_id: int
    student_id: int
    student_number: str
    name: str
    place: int | None


@dataclass(frozen=True, slots=True)
class Roster:
    """Who is in a section, by name, and who waits for it, by place."""

    section_id: int
    enrolled: tuple[RosterEntry, ...]
    waitlisted: tuple[RosterEntry, ...]


@dataclass(frozen=True, slots=True)
class ExportLink:
    """Where an export can be had, and until when. Without a host it is a path of this API."""

    url: str
    expires_at: datetime
