"""Rows from an importer to the loader. They refer to each other by natural keys: codes, numbers, addresses."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date, datetime
from typing import NamedTuple

from persistence.imports.report import Refusal
from persistence.imports.spelling import CODE_CHARS_MAX

SMALLINT_MAX = 32_767
CAPACITY_MAX = 1_000_000
MINUTES_PER_DAY = 1440


class SemesterRow(NamedTuple):
    """A semester. Its registration window is set by its first import only: afterwards the registrar owns it."""

    code: str
    name: str
    weeks: int
    starts_on: date | None = None
    opens_at: datetime | None = None
    closes_at: datetime | None = None


class DepartmentRow(NamedTuple):
    code: str
    name: str


class MajorRow(NamedTuple):
    code: str
    department: str
    name: str


class CourseRow(NamedTuple):
    code: str
    department: str
    title: str
    description: str = ""


class RequisiteRow(NamedTuple):
    """A required course. ``kind`` is ``prerequisite`` or ``corequisite``; ``min_grade`` in tenths of a grade point."""

    course: str
    required: str
    kind: str
    min_grade: int | None


class RoomRow(NamedTuple):
    code: str
    capacity: int | None = None


class MeetingRow(NamedTuple):
    """``weekday`` 0 is Monday; minutes from midnight, the end exclusive; bit 0 of ``weeks`` is week 1 of the term."""

    weekday: int
    start_minute: int
    end_minute: int
    weeks: int
    room: str | None = None


class SectionRow(NamedTuple):
    """A section. ``source_key`` is its id in the source, unique in the semester; ``line`` is its line there.

    ``is_open`` is whether it takes students by what the source says: one with no seats does not.
    """

    line: int
    source_key: str
    course: str
    code: str
    component: str
    credits: int
    capacity: int
    meetings: tuple[MeetingRow, ...] = ()
    waitlist_limit: int | None = None
    teacher: str | None = None
    is_open: bool = True


class PersonRow(NamedTuple):
    """A user. ``role`` is ``student``, ``teacher`` or ``admin``; without a hash there is no login by password."""

    email: str
    name: str
    role: str
    password_hash: str | None = None


class StudentRow(NamedTuple):
    number: str
    person: PersonRow
    major: str | None = None
    class_year: int | None = None


class RecordRow(NamedTuple):
    """A student's initial registration record. ``completed`` maps course codes to grades in tenths of a point."""

    number: str
    credit_limit: int
    completed: Mapping[str, int] = {}
    holds: tuple[str, ...] = ()
    opens_at: datetime | None = None
    closes_at: datetime | None = None


@dataclass(slots=True)
class Bundle:
    """All rows of one import. ``refusals``, ``notes`` and ``remarks`` of the reader go into the report.

    ``refused_keys`` are ids of sections that the source has but whose rows are refused: they have not vanished from it.
    """

    semester: SemesterRow
    departments: list[DepartmentRow] = field(default_factory=list)
    majors: list[MajorRow] = field(default_factory=list)
    courses: list[CourseRow] = field(default_factory=list)
    requisites: list[RequisiteRow] = field(default_factory=list)
    rooms: list[RoomRow] = field(default_factory=list)
    sections: list[SectionRow] = field(default_factory=list)
    staff: list[PersonRow] = field(default_factory=list)
    students: list[StudentRow] = field(default_factory=list)
    records: list[RecordRow] = field(default_factory=list)
    refusals: list[Refusal] = field(default_factory=list)
    notes: Counter[str] = field(default_factory=Counter)
    remarks: list[str] = field(default_factory=list)
    refused_keys: set[str] = field(default_factory=set)

    def add_section(self, section: SectionRow) -> bool:
        """Add a section, or refuse it with its line if the tables could not hold it.

        Returns:
            whether it was added.
        """
        reason = reason_against(section, self.semester.weeks)
        if reason is None:
            self.sections.append(section)
            return True
        self.refusals.append(Refusal(section.line, reason))
        return False


def reason_against(section: SectionRow, weeks: int) -> str | None:
    """Why ``section`` cannot be stored in a semester of so many weeks; None if it can."""
    for name, text in (("id", section.source_key), ("course", section.course), ("code", section.code)):
        if not text or "\0" in text:
            return f"the section's {name} is empty or not text"
        if len(text) > CODE_CHARS_MAX:
            return f"the section's {name} is longer than {CODE_CHARS_MAX} characters"
    if not 0 <= section.capacity <= CAPACITY_MAX:
        return f"capacity {section.capacity} is not between 0 and {CAPACITY_MAX:,}"
    if not 0 <= section.credits <= SMALLINT_MAX:
        return f"{section.credits} credits are not between 0 and {SMALLINT_MAX:,}"
    for meeting in section.meetings:
        reason = _reason_against_meeting(meeting, weeks)
        if reason is not None:
            return reason
    return None


def _reason_against_meeting(meeting: MeetingRow, weeks: int) -> str | None:
    if not 0 <= meeting.weekday <= 6:
        return f"weekday {meeting.weekday} is not between 0 and 6"
    if not 0 <= meeting.start_minute < meeting.end_minute <= MINUTES_PER_DAY:
        return f"a meeting from minute {meeting.start_minute} to {meeting.end_minute} is not within one day"
    if meeting.room is not None and ("\0" in meeting.room or len(meeting.room) > CODE_CHARS_MAX):
        return f"a meeting's room is not text, or longer than {CODE_CHARS_MAX} characters"
    if not 0 < meeting.weeks < 1 << weeks:
        return f"a meeting's weeks are none, or beyond the {weeks} weeks of the semester"
    return None
