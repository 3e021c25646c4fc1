"""Importer of catalogues of UC San Diego: ``*_sections.tsv`` or ``.tsv.gz``.

The format is that of the UCSD-Historical-Enrollment-Data project on GitHub (repository UCSDHistEnrollData; MIT
licence, its authors ask to be cited). One row is one section; its columns are course, section code, section id,
seats and meetings, the latter separated by bars and each ``code,days,time,room``.

How it is mapped:

- 9999 seats mean "unlimited". The capacity becomes 9,999: no course has ever come near it.
- 0 seats mean closed or cancelled: capacity 0.
- A row has all meetings that a student takes together (``A01`` is its lecture and its discussion), so a row is one
  section. Its component is that of its main weekly meeting, in the order of COMPONENTS; ``section`` if it has none.
- Only weekly meetings are kept. Dated meetings (exams) and those without a set time are counted and left out.
- Rows with the same section id, course, code and seats are one section; their meetings are joined.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from persistence.imports.files import read_lines
from persistence.imports.report import ImportFileError, ImportProgress, Refusal, no_progress
from persistence.imports.rows import Bundle, CourseRow, DepartmentRow, MeetingRow, RoomRow, SectionRow, SemesterRow

HEADER = ("subj_course_id", "sec_code", "sec_id", "total_seats", "meetings")
UNLIMITED_SEATS = 9999

COMPONENTS = {
    "LE": "lecture", "SE": "seminar", "LA": "lab", "DI": "discussion", "TU": "tutorial", "ST": "studio",
    "PR": "practicum", "IN": "independent_study",
}  # fmt: skip

WEEKDAYS = {"M": 0, "Tu": 1, "W": 2, "Th": 3, "F": 4, "Sa": 5, "Su": 6}
_DAY = re.compile("M|Tu|W|Th|F|Sa|Su")
_WEEKLY = re.compile("(?:M|Tu|W|Th|F|Sa|Su)+")
_DATED = re.compile(r"\d{4}-\d{2}-\d{2}")
_TIME = re.compile(r"(\d{1,2}):(\d{2}) - (\d{1,2}):(\d{2})")


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
    return path.name.split(".")[0].split("_")[0].upper()


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
    code = semester or semester_code(path)
    bundle = Bundle(SemesterRow(code, code, weeks))
    lines = read_lines(path, progress)
    _, header = next(lines, (1, b""))
    if tuple(header.decode("utf-8", "replace").removeprefix("\ufeff").split("\t")) != HEADER:
        raise ImportFileError(f"{path}: not a UCSD file of sections: its first line must be {' '.join(HEADER)}")
    sections: dict[str, SectionRow] = {}
    for number, line in lines:
        bundle.notes["rows_read"] += 1
        try:
            _add_row(bundle, sections, number, line, credit_count)
        except _RowError as error:
            bundle.refusals.append(Refusal(number, str(error)))
    for section in sections.values():
        bundle.add_section(section)
    _add_what_sections_need(bundle)
    return bundle


def _add_row(bundle: Bundle, sections: dict[str, SectionRow], number: int, line: bytes, credit_count: int) -> None:
    course, code, key, seats, meetings = _fields(line)
    found = _read_meetings(meetings, bundle.semester.weeks)
    section = SectionRow(number, key, course, code, found.component, credit_count, _capacity(seats), found.weekly)
    earlier = sections.get(key)
    if earlier is not None:
        section = _joined(earlier, section)
        bundle.notes["duplicate_rows_joined"] += 1
    elif section.capacity == UNLIMITED_SEATS:
        bundle.notes["unlimited_sections"] += 1
    bundle.notes["dated_meetings_skipped"] += found.dated
    bundle.notes["unscheduled_meetings_skipped"] += found.unscheduled
    sections[key] = section


def _fields(line: bytes) -> list[str]:
    try:
        fields = line.decode("utf-8").split("\t")
    except UnicodeDecodeError as error:
        raise _RowError(f"not UTF-8: {error.reason}") from error
    if len(fields) != len(HEADER):
        raise _RowError(f"{len(fields)} columns instead of {len(HEADER)}")
    if not re.fullmatch(r"\S+ \S.*", fields[0]):
        raise _RowError(f"course {fields[0]!r} is not a subject, a space and a number")
    return fields


def _capacity(seats: str) -> int:
    if not re.fullmatch(r"\d{1,7}", seats, re.ASCII):
        raise _RowError(f"total_seats {seats!r} is not a number of seats")
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
    for item in filter(None, text.split("|")):
        parts = item.split(",", 3)
        if len(parts) != 4:
            raise _RowError(f"meeting {item!r} is not code,days,time,room")
        code, days, time, room = parts
        if _WEEKLY.fullmatch(days):
            codes.add(code)
            weekly += _weekly_meetings(days, time, room, weeks)
        elif _DATED.fullmatch(days):
            dated += 1
        elif days in {"", "N/A"}:
            unscheduled += 1
        else:
            raise _RowError(f"meeting {item!r} has unknown days {days!r}")
    component = next((name for code, name in COMPONENTS.items() if code in codes), "section")
    return _Meetings(tuple(dict.fromkeys(weekly)), component, dated, unscheduled)


def _weekly_meetings(days: str, time: str, room: str, weeks: int) -> list[MeetingRow]:
    match = _TIME.fullmatch(time)
    if match is None:
        raise _RowError(f"time {time!r} is not H:MM - H:MM")
    hours_from, minutes_from, hours_to, minutes_to = map(int, match.groups())
    if minutes_from > 59 or minutes_to > 59:
        raise _RowError(f"time {time!r} has minutes beyond 59")
    start, end = hours_from * 60 + minutes_from, hours_to * 60 + minutes_to
    place = room.strip()
    known = place if place and not place.startswith("TBA") else None
    return [MeetingRow(WEEKDAYS[day], start, end, (1 << weeks) - 1, known) for day in _DAY.findall(days)]


def _add_what_sections_need(bundle: Bundle) -> None:
    codes = dict.fromkeys(section.course for section in bundle.sections)
    subjects = dict.fromkeys(code.split(" ")[0] for code in codes)
    rooms = dict.fromkeys(m.room for section in bundle.sections for m in section.meetings if m.room)
    bundle.departments = [DepartmentRow(code, code) for code in subjects]
    bundle.courses = [CourseRow(code, code.split(" ")[0], code) for code in codes]
    bundle.rooms = [RoomRow(code) for code in rooms]
    bundle.notes["weekly_meetings"] = sum(len(section.meetings) for section in bundle.sections)
