"""The benchmark semester in a Seatline that already runs: sections that never fill up, students who never registered.

Nothing of an earlier run is undone. A run takes students whose record is unchanged and adds the missing ones, so every
enrolment of every run is a new row, as on registration day, and the history stays whole.
"""

from __future__ import annotations

from typing import Any

from bench.demand.bench_term import CREDIT_LIMIT, SEMESTER, BenchTerm
from cluster.cli.tokens import KnownStudent
from persistence.imports.load.loader import importing, load
from persistence.imports.report import ImportProgress
from persistence.imports.rows import (
    CAPACITY_MAX,
    Bundle,
    CourseRow,
    DepartmentRow,
    PersonRow,
    RecordRow,
    SectionRow,
    StudentRow,
)


async def extend_term(database_url: str, section_count: int, student_count: int, progress: ImportProgress) -> BenchTerm:
    """Add sections and students until there are so many, and return them."""
    async with importing(database_url) as connection:
        fresh = await _fresh_students(connection, student_count)
        bundle = Bundle(SEMESTER, departments=[DepartmentRow("BENCH", "Benchmark")])
        _add_sections(bundle, section_count)
        _add_students(bundle, await _last_number(connection), student_count - len(fresh))
        await load(connection, bundle, progress)
        return BenchTerm(
            await _section_ids(connection, section_count), await _fresh_students(connection, student_count)
        )


def _add_sections(bundle: Bundle, count: int) -> None:
    for number in range(1, count + 1):
        course = f"BENCH-{number:05d}"
        bundle.courses.append(CourseRow(course, "BENCH", f"Benchmark course {number}"))
        bundle.add_section(SectionRow(0, course, course, "A00", "lecture", 1, CAPACITY_MAX))


def _add_students(bundle: Bundle, last: int, count: int) -> None:
    for index in range(last + 1, last + count + 1):
        number = f"BENCH-{index:08d}"
        bundle.students.append(
            StudentRow(number, PersonRow(f"bench-{index}@bench.seatline.example", f"Bench {index}", "student"))
        )
        bundle.records.append(RecordRow(number, CREDIT_LIMIT))


async def _fresh_students(connection: Any, count: int) -> list[KnownStudent]:
    rows = await connection.fetch(
        """
        SELECT s.id, s.student_number, s.user_id
        FROM registration_records r JOIN students s ON s.id = r.student_id JOIN semesters t ON t.id = r.semester_id
        WHERE t.code = $1 AND r.version = 0 ORDER BY s.id LIMIT $2
        """,
        SEMESTER.code, count,
    )  # fmt: skip
    return [KnownStudent(*row) for row in rows]


async def _last_number(connection: Any) -> int:
    text = await connection.fetchval("SELECT max(student_number) FROM students WHERE student_number LIKE 'BENCH-%'")
    return int(text.removeprefix("BENCH-")) if text else 0


async def _section_ids(connection: Any, count: int) -> list[int]:
    rows = await connection.fetch(
        """
        SELECT s.id FROM course_sections s JOIN semesters t ON t.id = s.semester_id
        WHERE t.code = $1 ORDER BY s.source_key LIMIT $2
        """,
        SEMESTER.code, count,
    )  # fmt: skip
    return [row["id"] for row in rows]
