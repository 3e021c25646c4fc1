"""Steps of an import: semesters, departments, majors, courses and rooms."""

from __future__ import annotations

from typing import Any

from persistence.imports.load.staging import stage, upsert
from persistence.imports.report import Counts, ImportReport
from persistence.imports.rows import Bundle


async def load_semester(connection: Any, bundle: Bundle, report: ImportReport) -> None:
    """Insert the semester; of one that exists, only the number of weeks is changed."""
    one = bundle.semester
    report.counts["semesters"] = await upsert(
        connection,
        1,
        """
        INSERT INTO semesters (code, name, weeks, starts_on, registration_opens_at, registration_closes_at)
        VALUES ($1, $2, $3, $4, $5, $6)
        ON CONFLICT (code) DO UPDATE SET weeks = excluded.weeks
        WHERE semesters.weeks <> excluded.weeks
        RETURNING xmax = 0
        """,
        one.code, one.name, one.weeks, one.starts_on, one.opens_at, one.closes_at,
    )  # fmt: skip


async def load_departments(connection: Any, bundle: Bundle, report: ImportReport) -> None:
    """Load departments by code."""
    total = await stage(connection, "t_departments", "code text, name text", bundle.departments)
    report.counts["departments"] = await upsert(
        connection,
        total,
        """
        INSERT INTO departments (code, name) SELECT code, name FROM t_departments ORDER BY code
        ON CONFLICT (code) DO UPDATE SET name = excluded.name WHERE departments.name <> excluded.name
        RETURNING xmax = 0
        """,
    )


async def load_majors(connection: Any, bundle: Bundle, report: ImportReport) -> None:
    """Load majors by code."""
    total = await stage(connection, "t_majors", "code text, department text, name text", bundle.majors)
    report.counts["majors"] = await upsert(
        connection,
        total,
        """
        INSERT INTO majors (code, department_id, name)
        SELECT t.code, d.id, t.name FROM t_majors t JOIN departments d ON d.code = t.department ORDER BY t.code
        ON CONFLICT (code) DO UPDATE SET name = excluded.name, department_id = excluded.department_id
        WHERE (majors.name, majors.department_id) IS DISTINCT FROM (excluded.name, excluded.department_id)
        RETURNING xmax = 0
        """,
    )


async def load_courses(connection: Any, bundle: Bundle, report: ImportReport) -> None:
    """Load courses by code."""
    columns = "code text, department text, title text, description text"
    total = await stage(connection, "t_courses", columns, bundle.courses)
    report.counts["courses"] = await upsert(
        connection,
        total,
        """
        INSERT INTO courses (code, department_id, title, description)
        SELECT t.code, d.id, t.title, t.description
        FROM t_courses t JOIN departments d ON d.code = t.department ORDER BY t.code
        ON CONFLICT (code) DO UPDATE
        SET department_id = excluded.department_id, title = excluded.title, description = excluded.description
        WHERE (courses.department_id, courses.title, courses.description)
            IS DISTINCT FROM (excluded.department_id, excluded.title, excluded.description)
        RETURNING xmax = 0
        """,
    )


async def load_requisites(connection: Any, bundle: Bundle, report: ImportReport) -> None:
    """Load prerequisites and corequisites by their pairs of courses."""
    columns = "course text, required text, kind text, min_grade smallint"
    total = await stage(connection, "t_requisites", columns, bundle.requisites)
    report.counts["requisites"] = await upsert(
        connection,
        total,
        """
        INSERT INTO prerequisites (course_id, required_course_id, kind, min_grade)
        SELECT c.id, r.id, t.kind::requisite_kind, t.min_grade
        FROM t_requisites t JOIN courses c ON c.code = t.course JOIN courses r ON r.code = t.required
        ORDER BY c.id, r.id
        ON CONFLICT (course_id, required_course_id, kind) DO UPDATE SET min_grade = excluded.min_grade
        WHERE prerequisites.min_grade IS DISTINCT FROM excluded.min_grade
        RETURNING xmax = 0
        """,
    )


async def load_rooms(connection: Any, bundle: Bundle, report: ImportReport) -> None:
    """Load rooms by code. A source without capacities does not erase known ones."""
    total = await stage(connection, "t_rooms", "code text, capacity integer", bundle.rooms)
    counts: Counts = await upsert(
        connection,
        total,
        """
        INSERT INTO classrooms (code, capacity) SELECT code, capacity FROM t_rooms ORDER BY code
        ON CONFLICT (code) DO UPDATE SET capacity = excluded.capacity
        WHERE excluded.capacity IS NOT NULL AND classrooms.capacity IS DISTINCT FROM excluded.capacity
        RETURNING xmax = 0
        """,
    )
    report.counts["rooms"] = counts
