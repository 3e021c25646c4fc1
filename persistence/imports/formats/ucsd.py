"""Importer of catalogues of UC San Diego: ``*_sections.tsv`` or ``.tsv.gz``.

The format is that of the UCSD-Historical-Enrollment-Data project on GitHub (repository UCSDHistEnrollData; MIT
licence, its authors ask to be cited). One row is one section; its columns are course, section code, section id,
seats and meetings, the latter separated by bars and each ``code,days,time,room``. The header names the columns: their
order does not matter, nor do others. Cells may be in quotes, as spreadsheets write them (see ``table.py``).

How it is mapped:

- 9999 seats mean "unlimited". The capacity becomes 9,999: no course has ever come near it.
- 0 seats mean closed or cancelled: capacity 0, and the section takes nobody.
- A row has all meetings that a student takes together (``A01`` is its lecture and its discussion), so a row is one
  section. Its component is that of its main weekly meeting, in the order of COMPONENTS; ``section`` if it has none.
- Only weekly meetings are kept. Dated meetings (exams) and those without a set time are counted and left out. A code
  that is not among MEETING_CODES is refused with its row: it may be a component that we would misread.
- Rows with the same section id, course, code and seats are one section; their meetings are joined. If one of them is
  refused, so are the others: half of a section is none.
- Codes that a reader takes for the same one but that are spelled in two ways are refused (see ``spelling.py``).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import date
from pathlib import Path

from allocator.model.typed_text import tidy
from persistence.imports.clashes import join_rooms, refuse_clashes
from persistence.imports.report import ImportFileError, ImportProgress, Refusal, no_progress
from persistence.imports.rows import Bundle, CourseRow, DepartmentRow, MeetingRow, RoomRow, SectionRow, SemesterRow
from persistence.imports.spelling import not_a_code, unreadable
from persistence.imports.table import read_table

HEADER = ("subj_course_id", "sec_code", "sec_id", "total_seats", "meetings")
UNLIMITED_SEATS = 9999

COMPONENTS = {
    "LE": "lecture", "SE": "seminar", "LA": "lab", "DI": "discussion", "TU": "tutorial", "ST": "studio",
    "PR": "practicum", "IN": "independent_study",
}  # fmt: skip

MEETING_CODES = frozenset(COMPONENTS) | {
    "AC", "CL", "CO", "FI", "FM", "FW", "IT", "MI", "MU", "OP", "OT", "PB", "RE", "SA",
}  # fmt: skip
"""All codes that UC San Diego uses: activity, clerkship, conference, final, film, fieldwork, internship, midterm,
make-up, other, problem session, review, study abroad. Those beyond COMPONENTS make a section a ``section``."""

MEETINGS_MAX = 500_000
"""Most weekly meetings of a file. The largest real one that we know has 20,000."""

WEEKDAYS = {"M": 0, "Tu": 1, "W": 2, "Th": 3, "F": 4, "Sa": 5, "Su": 6}
_DAY = re.compile("M|Tu|W|Th|F|Sa|Su")
_WEEKLY = re.compile("(?:M|Tu|W|Th|F|Sa|Su)+")
_DATED = re.compile(r"\d{4}-\d{2}-\d{2}", re.ASCII)
_TIME = re.compile(r"(\d{1,2}):(\d{2}) - (\d{1,2}):(\d{2})", re.ASCII)


class _RowError(Exception):
    """Why a row is refused."""


@dataclass(frozen=True, slots=True)
class _Meetings:
    """The meetings of one row: those that are kept, and how many are not."""

    weekly: tuple[MeetingRow, ...]
    component: str
    dated: int
    unscheduled: int


def semester_code(path: Path) -> str:
    """The semester in the name of a file: that of ``sp22_sections.tsv.gz`` is SP22."""
    return tidy(path.name.split(".")[0].split("_")[0].upper())


def read_ucsd(
    path: Path,
    *,
    semester: str | None = None,
    credit_count: int = 4,
    weeks: int = 10,
    progress: ImportProgress = no_progress,
) -> Bundle:
    """Read a file of sections.

    Args:
        path: tsv or tsv.gz.
        semester: code of the semester that the sections go to; from the file's name if None.
        credit_count: credits of every section; the source has none.
        weeks: weeks of the term; a quarter has 10. Weekly meetings happen in all of them.
        progress: called with the bytes read.

    Raises:
        ImportFileError: if it is not such a file. Single broken rows are refused instead, and listed in the bundle.
    """
    code = semester_code(path) if semester is None else tidy(semester)
    reason = not_a_code(code)
    if reason is not None:
        raise ImportFileError(f"{path}: {code[:80]!r} cannot be the code of a semester: {reason}")
    bundle = Bundle(SemesterRow(code, code, weeks))
    reader = _Reader(bundle, credit_count)
    for row in read_table(path, "a UCSD file of sections", HEADER, progress):
        bundle.notes["rows_read"] += 1
        try:
            if row.reason is not None:
                raise _RowError(row.reason)
            reader.add(row.line, *row.cells)
        except _RowError as error:
            bundle.refusals.append(Refusal(row.line, str(error)))
        if reader.meeting_count > MEETINGS_MAX:
            raise ImportFileError(f"{path}: holds more than {MEETINGS_MAX:,} weekly meetings")
    sections = refuse_clashes(bundle, reader.whole_sections(), lambda one: _subject(one.course))
    for section in join_rooms(bundle, sections):
        if not bundle.add_section(section):
            bundle.refused_keys.add(section.source_key)
    _add_what_sections_need(bundle)
    return bundle


class _Reader:
    """Makes sections of rows, by their ids."""

    def __init__(self, bundle: Bundle, credit_count: int) -> None:
        self.meeting_count = 0
        self._bundle = bundle
        self._credits = credit_count
        self._sections: dict[str, SectionRow] = {}
        self._refused: dict[str, int] = {}

    def add(self, line: int, course: str, code: str, key: str, seats: str, meetings: str) -> None:
        """Add the row on ``line``.

        Raises:
            _RowError: if it is refused.
        """
        try:
            section = self._section(line, course, code, key, seats, meetings)
        except _RowError:
            if key:
                self._refused.setdefault(key, line)
                self._bundle.refused_keys.add(key)
            raise
        notes, earlier = self._bundle.notes, self._sections.get(key)
        if earlier is not None:
            section = _joined(earlier, section)
            notes["duplicate_rows_joined"] += 1
        elif section.capacity == UNLIMITED_SEATS:
            notes["unlimited_sections"] += 1
        self.meeting_count += len(section.meetings) - (len(earlier.meetings) if earlier else 0)
        self._sections[key] = section

    def _section(self, line: int, course: str, code: str, key: str, seats: str, meetings: str) -> SectionRow:
        for name, text in (("course", course), ("sec_code", code), ("sec_id", key)):
            reason = not_a_code(text)
            if reason is not None:
                raise _RowError(f"{name} {text[:80]!r} is refused: {reason}")
        if " " not in course:
            raise _RowError(f"course {course!r} is not a subject, a space and a number")
        found = _read_meetings(meetings, self._bundle.semester.weeks)
        capacity = _capacity(seats)
        self._bundle.notes["dated_meetings_skipped"] += found.dated
        self._bundle.notes["unscheduled_meetings_skipped"] += found.unscheduled
        return SectionRow(
            line, key, course, code, found.component, self._credits, capacity, found.weekly, is_open=capacity > 0
        )

    def whole_sections(self) -> list[SectionRow]:
        """All sections of which no row was refused."""
        for key, line in self._refused.items():
            half = self._sections.pop(key, None)
            if half is not None:
                reason = f"section id {key}: another row of this section is refused, on line {line}"
                self._bundle.refusals.append(Refusal(half.line, reason))
        return list(self._sections.values())


def _subject(course: str) -> str:
    return course.split(" ", 1)[0]


def _capacity(seats: str) -> int:
    if not re.fullmatch(r"\d{1,7}", seats, re.ASCII):
        raise _RowError(f"total_seats {seats[:80]!r} is not a number of seats")
    return int(seats)


def _joined(earlier: SectionRow, later: SectionRow) -> SectionRow:
    same = ("course", "code", "capacity")
    if any(getattr(earlier, name) != getattr(later, name) for name in same):
        raise _RowError(f"section id {later.source_key} is another section on line {earlier.line}")
    meetings = tuple(dict.fromkeys(earlier.meetings + later.meetings))
    rank = [*COMPONENTS.values(), "section"]
    component = min(earlier.component, later.component, key=rank.index)
    return earlier._replace(meetings=meetings, component=component)


def _read_meetings(text: str, weeks: int) -> _Meetings:
    weekly: list[MeetingRow] = []
    codes: set[str] = set()
    dated = unscheduled = 0
    for item in filter(None, map(str.strip, text.split("|"))):
        parts = [part.strip() for part in item.split(",", 3)]
        if len(parts) != 4:
            raise _RowError(f"meeting {item[:80]!r} is not code,days,time,room")
        code, days, time, room = parts
        if code not in MEETING_CODES:
            raise _RowError(f"meeting {item[:80]!r} has the unknown code {code[:80]!r}")
        if _WEEKLY.fullmatch(days):
            codes.add(code)
            weekly += _weekly_meetings(days, time, room, weeks)
        elif _is_date(days):
            dated += 1
        elif days in {"", "N/A"}:
            unscheduled += 1
        else:
            raise _RowError(f"meeting {item[:80]!r} has unknown days {days[:80]!r}")
    component = next((name for code, name in COMPONENTS.items() if code in codes), "section")
    return _Meetings(tuple(dict.fromkeys(weekly)), component, dated, unscheduled)


def _is_date(days: str) -> bool:
    if not _DATED.fullmatch(days):
        return False
    try:
        date.fromisoformat(days)
    except ValueError:
        return False
    return True


def _weekly_meetings(days: str, time: str, room: str, weeks: int) -> list[MeetingRow]:
    match = _TIME.fullmatch(time)
    if match is None:
        raise _RowError(f"time {time[:80]!r} is not H:MM - H:MM")
    hours_from, minutes_from, hours_to, minutes_to = map(int, match.groups())
    if minutes_from > 59 or minutes_to > 59:
        raise _RowError(f"time {time!r} has minutes beyond 59")
    start, end = hours_from * 60 + minutes_from, hours_to * 60 + minutes_to
    reason = unreadable(room)
    if reason is not None:
        raise _RowError(f"a meeting's room is not text: {room[:80]!r}: {reason}")
    known = None if set(room.split()) <= {"TBA"} else room
    return [MeetingRow(WEEKDAYS[day], start, end, (1 << weeks) - 1, known) for day in _DAY.findall(days)]


def _add_what_sections_need(bundle: Bundle) -> None:
    codes = dict.fromkeys(section.course for section in bundle.sections)
    subjects = dict.fromkeys(_subject(code) for code in codes)
    rooms = dict.fromkeys(m.room for section in bundle.sections for m in section.meetings if m.room)
    bundle.departments = [DepartmentRow(code, code) for code in subjects]
    bundle.courses = [CourseRow(code, _subject(code), code) for code in codes]
    bundle.rooms = [RoomRow(code) for code in rooms]
    bundle.notes["weekly_meetings"] = sum(len(section.meetings) for section in bundle.sections)
