"""Importer of the International Timetabling Competition 2019: catalogue and students from an instance and a solution.

A class becomes a section. Its component is its subpart, because a student of a course takes one class of every subpart
of one configuration. Limits come from the instance, times and rooms from the solution, students from both.

A solution without its instance has no limits and no courses: ``read_solution_alone`` gives each class a course of its
own, and derives its capacity from the number of students whom the solution puts into it.

A class without seats, by its limit or because the solution has nobody in it, becomes a closed section.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from pathlib import Path

from persistence.imports.clashes import refuse_clashes
from persistence.imports.formats.itc_files import (
    Instance,
    InstanceClass,
    Slot,
    Solution,
    SolvedClass,
    natural,
    read_instance,
    read_solution,
)
from persistence.imports.report import ImportFileError, ImportProgress, Refusal, no_progress
from persistence.imports.rows import (
    Bundle,
    CourseRow,
    DepartmentRow,
    MeetingRow,
    PersonRow,
    RecordRow,
    RoomRow,
    SectionRow,
    SemesterRow,
    StudentRow,
)
from persistence.imports.spelling import Spellings, difference, fold_number

UNLIMITED_SEATS = 9999
"""Capacity of a class without a limit, as in the UCSD files."""

GUESSED_LENGTH_SLOTS = 10
"""Length of a class if no file has it: 50 minutes, by far the commonest in the Purdue instances."""


class _ClassError(Exception):
    """Why a class is refused."""


def student_number(name: str, student: str) -> str:
    """The student number that student ``student`` of the problem ``name`` gets."""
    return f"{name}-{student}"


def read_itc2019(
    instance_path: Path,
    solution_path: Path,
    *,
    credit_count: int = 1,
    max_credits: int = 99,
    progress: ImportProgress = no_progress,
) -> Bundle:
    """Read an instance and its solution.

    Args:
        credit_count: credits of every class; the source has none.
        max_credits: credit limit of every student.

    Raises:
        ImportFileError: if the files are not an instance and a solution of the same problem.
    """
    instance = read_instance(instance_path, progress)
    solution = read_solution(solution_path, progress)
    if instance.name != solution.name:
        raise ImportFileError(f"the solution is one of {solution.name}, the instance is {instance.name}")
    bundle = _begin(instance.name, instance.week_count, (*instance.refusals, *solution.refusals))
    sections = [
        _section(bundle, instance, key, one, solution.classes.get(key), credit_count)
        for key, one in instance.classes.items()
    ]
    _add_sections(bundle, sections)
    for key, solved in solution.classes.items():
        if key not in instance.classes:
            bundle.refusals.append(Refusal(solved.line, f"solution: class {key} is not in the instance"))
    bundle.courses = _courses(instance.name, (instance.classes[one.source_key].course for one in bundle.sections))
    bundle.rooms = [RoomRow(_room(instance.name, key), capacity) for key, capacity in instance.rooms.items()]
    _add_students(bundle, instance.name, sorted({*instance.students, *solution.students()}, key=natural), max_credits)
    _add_notes(bundle, solution)
    bundle.notes["course_requests"] = sum(map(len, instance.students.values()))
    return bundle


def read_solution_alone(
    solution_path: Path,
    *,
    credit_count: int = 1,
    max_credits: int = 99,
    capacity_factor: float = 1.0,
    keep_meetings: bool = False,
    progress: ImportProgress = no_progress,
) -> Bundle:
    """Read a solution without its instance.

    Args:
        capacity_factor: capacity of a section as a multiple of the number of students whom the solution puts into it.
        keep_meetings: whether sections get their meetings, with a guessed length. A solution may put a student into
            classes that overlap; without meetings the schedule rule does not apply.

    Raises:
        ImportFileError: if it is not a solution.
    """
    if not 0 < capacity_factor <= 1000:
        raise ImportFileError(
            f"a capacity factor of {capacity_factor} makes no sense: give 1.0 for an exactly full campus"
        )
    solution = read_solution(solution_path, progress)
    name = solution.name
    weeks = max((len(one.slot.weeks) for one in solution.classes.values()), default=15)
    bundle = _begin(name, weeks, solution.refusals)
    alone = Instance(name, weeks, rooms={one.room: None for one in solution.classes.values() if one.room})
    sections = []
    for key, solved in solution.classes.items():
        capacity = math.ceil(len(solved.students) * capacity_factor - 1e-9)
        lengths = {solved.slot: solved.length or GUESSED_LENGTH_SLOTS} if keep_meetings else {}
        made_up = InstanceClass(solved.line, key, "class", capacity, lengths)
        sections.append(_section(bundle, alone, key, made_up, solved if keep_meetings else None, credit_count))
    _add_sections(bundle, sections)
    bundle.courses = _courses(name, (one.source_key for one in bundle.sections))
    bundle.rooms = [
        RoomRow(code) for code in dict.fromkeys(m.room for s in bundle.sections for m in s.meetings if m.room)
    ]
    _add_students(bundle, name, solution.students(), max_credits)
    _add_notes(bundle, solution)
    bundle.remarks.append(
        f"No instance: capacities are derived, {capacity_factor:g} times the students of the solution; "
        "every class is a course of its own."
    )
    bundle.remarks.append(
        f"Meetings without a length are taken to last {GUESSED_LENGTH_SLOTS * 5} minutes."
        if keep_meetings
        else "Sections are imported without meetings: the schedule rule takes no part (--overlap check keeps them)."
    )
    return bundle


def _begin(name: str, weeks: int, refusals: Iterable[Refusal]) -> Bundle:
    bundle = Bundle(SemesterRow(name, name, weeks), departments=[DepartmentRow(name, name)])
    bundle.refusals += refusals
    return bundle


def _courses(name: str, keys: Iterable[str]) -> list[CourseRow]:
    return [CourseRow(f"{name}-{key}", name, f"Course {key} of {name}") for key in dict.fromkeys(keys)]


def _room(name: str, key: str) -> str:
    return f"{name} room {key}"


def _section(
    bundle: Bundle, instance: Instance, key: str, one: InstanceClass, solved: SolvedClass | None, credit_count: int
) -> SectionRow | None:
    """The section of a class; None if it is refused."""
    try:
        meetings = _meetings(instance, one, solved) if solved is not None else ()
    except _ClassError as error:
        bundle.refusals.append(Refusal(one.line, f"class {key}: {error}"))
        bundle.refused_keys.add(key)
        return None
    if solved is None and one.lengths:
        bundle.notes["classes_without_time"] += 1
    limit = UNLIMITED_SEATS if one.limit is None else one.limit
    course = f"{instance.name}-{one.course}"
    return SectionRow(one.line, key, course, key, one.subpart, credit_count, limit, meetings, is_open=limit > 0)


def _add_sections(bundle: Bundle, sections: Iterable[SectionRow | None]) -> None:
    """Add the sections that are not refused."""
    made = [section for section in sections if section is not None]
    for section in refuse_clashes(bundle, made, lambda _: bundle.semester.code):
        if not bundle.add_section(section):
            bundle.refused_keys.add(section.source_key)


def _meetings(instance: Instance, one: InstanceClass, solved: SolvedClass) -> tuple[MeetingRow, ...]:
    length = solved.length or one.lengths.get(solved.slot)
    if length is None:
        raise _ClassError(f"the solution's time on line {solved.line} is not one that the instance allows")
    if solved.room and solved.room not in instance.rooms:
        raise _ClassError(f"room {solved.room} of the solution's line {solved.line} is not in the instance")
    start = solved.slot.start * instance.slot_minutes
    end = start + length * instance.slot_minutes
    room = _room(instance.name, solved.room) if solved.room else None
    weeks = week_mask(solved.slot.weeks)
    return tuple(MeetingRow(day, start, end, weeks, room) for day in weekdays(solved.slot))


def weekdays(slot: Slot) -> list[int]:
    """The days of a mask whose leftmost bit is Monday, as 0 for Monday to 6."""
    return [day for day, bit in enumerate(slot.days) if bit == "1"]


def week_mask(weeks: str) -> int:
    """A mask whose leftmost character is week 1 as our mask, in which bit 0 is week 1."""
    return int(weeks[::-1], 2)


def _add_students(bundle: Bundle, name: str, students: list[str], max_credits: int) -> None:
    spellings = Spellings.of(((student, 0) for student in students), fold_number)
    odd = set(spellings.twice())
    for student in students:
        if student in odd:
            usual = spellings.usual(student)[0]
            reason = f"student {student!r} differs {difference(student, usual)} from student {usual!r}"
            bundle.refusals.append(Refusal(0, reason))
            continue
        number = student_number(name, student)
        person = PersonRow(f"student-{student}@{name}.itc.example", f"Student {student}", "student")
        bundle.students.append(StudentRow(number, person))
        bundle.records.append(RecordRow(number, max_credits))


def _add_notes(bundle: Bundle, solution: Solution) -> None:
    bundle.notes["rows_read"] += len(bundle.sections) + len(bundle.students) + len(bundle.refusals)
    bundle.notes["weekly_meetings"] = sum(len(section.meetings) for section in bundle.sections)
    bundle.notes["seats"] = sum(section.capacity for section in bundle.sections)
    bundle.notes["seats_in_solution"] = sum(len(one.students) for one in solution.classes.values())
