"""The semester of the benchmarks: its rows in a database, and access tokens of its students."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import asyncpg

from allocator.model.read_models import Account, Role
from api.signin.tokens import AccessTokens
from bench.demand.draw import slot_of
from bench.peers.environment import TOKEN_TTL_S
from cluster.cli.tokens import KnownStudent
from persistence.imports.load.loader import importing, load
from persistence.imports.report import ImportProgress
from persistence.imports.rows import (
    Bundle,
    CourseRow,
    DepartmentRow,
    MeetingRow,
    PersonRow,
    RecordRow,
    SectionRow,
    SemesterRow,
    StudentRow,
)

SEMESTER = SemesterRow("BENCH", "Benchmark", 15)
CREDIT_LIMIT = 99
ALL_WEEKS = (1 << SEMESTER.weeks) - 1
MINUTES = 75


@dataclass(frozen=True, slots=True)
class BenchTerm:
    """The sections and the students of the semester, by index."""

    section_ids: list[int]
    students: list[KnownStudent]


def meetings_of(slot: int) -> tuple[MeetingRow, ...]:
    """The meetings of a slot: two a week, on Monday and Wednesday or on Tuesday and Thursday."""
    days, start = ((0, 2), (1, 3))[slot % 2], (8 + 2 * (slot // 2)) * 60
    return tuple(MeetingRow(day, start, start + MINUTES, ALL_WEEKS) for day in days)


async def fill_term(database_url: str, capacities: Sequence[int], student_count: int, progress: ImportProgress) -> None:
    """Load the semester into an empty database: sections with these capacities, students without enrolments."""
    bundle = Bundle(SEMESTER, departments=[DepartmentRow("BENCH", "Benchmark")])
    for index, capacity in enumerate(capacities):
        course = f"BENCH-{index:05d}"
        bundle.courses.append(CourseRow(course, "BENCH", f"Benchmark course {index}"))
        section = SectionRow(0, course, course, "A00", "lecture", 1, capacity, meetings_of(slot_of(index)))
        bundle.add_section(section)
    for index in range(student_count):
        number = f"BENCH-{index:08d}"
        person = PersonRow(f"bench-{index}@bench.seatline.example", f"Bench {index}", "student")
        bundle.students.append(StudentRow(number, person))
        bundle.records.append(RecordRow(number, CREDIT_LIMIT))
    async with importing(database_url) as connection:
        await load(connection, bundle, progress)


async def read_term(database_url: str) -> BenchTerm:
    """The ids of sections and students. Clones of one template have the same."""
    connection = await asyncpg.connect(database_url)
    try:
        sections = await connection.fetch(
            """SELECT s.id FROM course_sections s JOIN semesters t ON t.id = s.semester_id
                WHERE t.code = $1 ORDER BY s.source_key""",
            SEMESTER.code,
        )
        students = await connection.fetch(
            "SELECT id, student_number, user_id FROM students WHERE student_number LIKE 'BENCH-%' ORDER BY 2"
        )
    finally:
        await connection.close()
    return BenchTerm([row["id"] for row in sections], [KnownStudent(*row) for row in students])


class TokenBook:
    """Access tokens of students, issued on first use."""

    def __init__(self, jwt_secret: str, students: Sequence[KnownStudent]) -> None:
        self._tokens = AccessTokens(jwt_secret, TOKEN_TTL_S)
        self._students = students
        self._made: dict[int, str] = {}

    def token(self, student: int) -> str:
        """The token of the student with this index."""
        token = self._made.get(student)
        if token is None:
            token = self._made[student] = self._tokens.issue(account_of(self._students[student]))
        return token


def account_of(student: KnownStudent) -> Account:
    """The account in the token of a student."""
    return Account(student.user_id, "", "", Role.STUDENT, None, False, student.student_id, student.number)
