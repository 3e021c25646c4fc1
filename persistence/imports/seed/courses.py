"""Departments, courses and sections of a seeded campus.

A course is determined by its index alone, its sections by the seed and the index. So a campus of 800 sections contains
that of 600, and seeding a larger one over a smaller one only adds to it.
"""

from __future__ import annotations

import random
from typing import NamedTuple

from persistence.imports.rows import Bundle, CourseRow, DepartmentRow, MajorRow, MeetingRow, RequisiteRow, SectionRow
from persistence.imports.seed.figures import (
    COURSE_KINDS,
    DISCUSSION_SIZES,
    DISCUSSIONS_PER_LECTURE,
    LAB_SIZES,
    LABS_PER_LECTURE,
    LECTURE_SIZES,
    LECTURES_PER_COURSE,
    SEMINAR_SIZES,
    draw,
    pick,
)
from persistence.imports.seed.places import Rooms, Teachers, Times, draw_times
from persistence.imports.seed.words import SUBJECTS, TITLES

WEEKS = 15
ALL_WEEKS = (1 << WEEKS) - 1
LEVELS = 4
NUMBERS_PER_LEVEL = 99
COURSES_MAX = len(SUBJECTS) * LEVELS * NUMBERS_PER_LEVEL

GRADE_C = 20
PART_CREDITS = {"lecture": 4, "seminar": 3, "discussion": 0, "lab": 1}
CALCULUS = "MAT 101"
NEEDS_CALCULUS = frozenset({"PHY", "EGR", "CSC", "CHM", "STA", "ECO"})


class CourseFacts(NamedTuple):
    """A course by its index. ``level`` is 1 to 4.

    In its series, the course of the level below has the index less ``len(SUBJECTS)``.
    """

    position: int
    code: str
    department: str
    level: int
    title: str


def course_facts(index: int) -> CourseFacts:
    """The course with this index. Departments take turns; in each, series of four courses of rising level."""
    subject = SUBJECTS[index % len(SUBJECTS)]
    series, step = divmod(index // len(SUBJECTS), LEVELS)
    round_, topic = divmod(series, len(subject.topics))
    title = TITLES[round_ % len(TITLES)][step].format(subject.topics[topic])
    if round_ >= len(TITLES):
        title += f" ({round_ // len(TITLES) + 1})"
    return CourseFacts(index, f"{subject.code} {(step + 1) * 100 + series + 1}", subject.code, step + 1, title)


def course_requisites(index: int) -> list[RequisiteRow]:
    """Prerequisites and corequisites of the course with this index: only courses with a lower index."""
    rng = random.Random(f"requisites/{index}")  # noqa: S311
    course = course_facts(index)
    found = []
    if course.level > 1 and rng.random() < 0.7:
        below = course_facts(index - len(SUBJECTS)).code
        found.append(RequisiteRow(course.code, below, "prerequisite", GRADE_C if rng.random() < 0.6 else None))
    if course.department in NEEDS_CALCULUS and course.level <= 2 and rng.random() < 0.25:
        found.append(RequisiteRow(course.code, CALCULUS, "corequisite", None))
    return found


class _Part(NamedTuple):
    """One section of a teaching group: the lecture itself, a discussion or a lab."""

    component: str
    code: str
    capacity: int
    times: Times


def add_courses(bundle: Bundle, section_count: int, seed: int, first_teacher: str | None) -> list[str]:
    """Add departments, courses, requisites, rooms and exactly ``section_count`` sections.

    Returns:
        the addresses of all teachers but ``first_teacher``, who gets the first sections.

    Raises:
        ValueError: if there are more sections than our courses can have.
    """
    bundle.departments = [DepartmentRow(subject.code, subject.name) for subject in SUBJECTS]
    bundle.majors = [MajorRow(f"{subject.code}-BS", subject.code, subject.name) for subject in SUBJECTS]
    rooms, teachers = Rooms(), Teachers(first_teacher)
    index = 0
    while len(bundle.sections) < section_count:
        if index == COURSES_MAX:
            raise ValueError(f"{section_count:,} sections need more courses than we have names for ({COURSES_MAX:,})")
        course = course_facts(index)
        bundle.courses.append(CourseRow(course.code, course.department, course.title))
        bundle.requisites += course_requisites(index)
        for section in _sections(course, seed, rooms, teachers)[: section_count - len(bundle.sections)]:
            bundle.add_section(section)
        index += 1
    bundle.rooms = rooms.rooms
    return teachers.emails


def _sections(course: CourseFacts, seed: int, rooms: Rooms, teachers: Teachers) -> list[SectionRow]:
    rng = random.Random(f"{seed}/course/{course.position}")  # noqa: S311
    kind = pick(rng, COURSE_KINDS)
    sections = []
    for group in range(pick(rng, LECTURES_PER_COURSE)):
        letter = chr(ord("A") + group)
        parts = _draw_parts(rng, kind, letter)
        teacher = teachers.assign(course.department, [parts[0].times])
        for part in parts:
            room = rooms.book(part.capacity, part.times)
            meetings = tuple(MeetingRow(*meeting, ALL_WEEKS, room) for meeting in part.times.meetings)
            sections.append(
                SectionRow(
                    0, f"{course.code} {part.code}", course.code, part.code, part.component,
                    PART_CREDITS[part.component], part.capacity, meetings, None, teacher,
                )
            )  # fmt: skip
    return sections


def _draw_parts(rng: random.Random, kind: str, letter: str) -> list[_Part]:
    """The sections of one teaching group. A lecture has as many seats as its discussions or labs together."""
    if kind == "seminar":
        return [_Part("seminar", f"{letter}00", draw(rng, SEMINAR_SIZES), draw_times(rng, "seminar"))]
    times = draw_times(rng, "lecture")
    if kind == "lecture":
        return [_Part("lecture", f"{letter}00", draw(rng, LECTURE_SIZES), times)]
    counts, sizes = (
        (DISCUSSIONS_PER_LECTURE, DISCUSSION_SIZES) if kind == "discussion" else (LABS_PER_LECTURE, LAB_SIZES)
    )
    capacity = draw(rng, sizes)  # the parts of one lecture are alike
    parts = [
        _Part(kind, f"{letter}{number:02d}", capacity, draw_times(rng, kind, times.mask))
        for number in range(1, pick(rng, counts) + 1)
    ]
    return [_Part("lecture", f"{letter}00", capacity * len(parts), times), *parts]
