"""The public catalogue. Implements ``api.ports.CatalogueReader``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from allocator.model.read_models import Course, CourseSummary, Requisite, SectionView, Semester
from persistence.queries.connection import reading
from persistence.queries.section_statements import SECTIONS_BY_ID, SELECT_SECTIONS, load_sections
from persistence.queries.typed_text import compact, contains, counting_order, folded, given
from persistence.schema.tables import course_sections, courses, departments, prerequisites, semesters

IS_CURRENT = sa.func.coalesce(semesters.c.starts_on + 7 * semesters.c.weeks > sa.func.current_date(), sa.true())


class CatalogueQueries:
    """Courses and sections in Postgres."""

    def __init__(self, engine: AsyncEngine) -> None:
        self._engine = engine

    async def semesters(self) -> Sequence[Semester]:
        """All semesters, the newest first."""
        statement = sa.select(
            semesters.c.id,
            semesters.c.code,
            semesters.c.name,
            IS_CURRENT.label("is_current"),
            semesters.c.registration_opens_at,
            semesters.c.registration_closes_at,
        ).order_by(semesters.c.starts_on.desc().nulls_last(), semesters.c.id.desc())
        async with reading(self._engine) as connection:
            return [Semester(**row) for row in (await connection.execute(statement)).mappings()]

    async def courses(
        self,
        *,
        semester_id: int | None,
        department: str | None,
        text: str | None,
        after_code: str | None,
        limit: int,
    ) -> Sequence[CourseSummary]:
        """Courses in the order of their codes, after ``after_code``. An argument that is None is no condition.

        Args:
            semester_id: of a semester in which they are taught.
            department: code of their department, in any case.
            text: what is in their codes or titles. Case and accents do not matter; in codes, spaces and hyphens do not.
            after_code: they come after it.
            limit: how many at most.
        """
        statement = (
            sa.select(courses.c.id, courses.c.code, courses.c.title, departments.c.code.label("department"))
            .join(departments, departments.c.id == courses.c.department_id)
            .order_by(*counting_order(courses.c.code))
            .limit(limit)
        )
        if semester_id is not None:
            taught = sa.select(1).where(
                course_sections.c.course_id == courses.c.id, course_sections.c.semester_id == semester_id
            )
            statement = statement.where(taught.exists())
        if department is not None:
            statement = statement.where(_is_department(department))
        if text is not None:
            wanted = given(text)
            in_code = contains(compact(courses.c.code), sa.func.nullif(compact(wanted), ""))
            statement = statement.where(in_code | contains(folded(courses.c.title), folded(wanted)))
        if after_code is not None:
            after = sa.tuple_(*counting_order(given(after_code)))
            statement = statement.where(sa.tuple_(*counting_order(courses.c.code)) > after)
        async with reading(self._engine) as connection:
            return [CourseSummary(**row) for row in (await connection.execute(statement)).mappings()]

    async def has_department(self, code: str) -> bool:
        """Whether there is a department of this code, in any case."""
        async with reading(self._engine) as connection:
            found: bool | None = await connection.scalar(sa.select(sa.exists().where(_is_department(code))))
            return bool(found)

    async def course(self, course_id: int) -> Course | None:
        """One course."""
        statement = (
            sa.select(
                courses.c.id,
                courses.c.code,
                courses.c.title,
                courses.c.description,
                departments.c.code.label("department"),
                departments.c.name.label("department_name"),
            )
            .join(departments, departments.c.id == courses.c.department_id)
            .where(courses.c.id == course_id)
        )
        async with reading(self._engine) as connection:
            row = (await connection.execute(statement)).mappings().one_or_none()
            if row is None:
                return None
            return Course(**row, requisites=await _requisites(connection, course_id))

    async def sections_of_course(self, course_id: int, semester_id: int | None) -> Sequence[SectionView] | None:
        """The sections of a course in the order of semester and code; None if there is no such course."""
        statement = SELECT_SECTIONS.where(course_sections.c.course_id == course_id).order_by(
            course_sections.c.semester_id.desc(), *counting_order(course_sections.c.code), course_sections.c.id
        )
        if semester_id is not None:
            statement = statement.where(course_sections.c.semester_id == semester_id)
        async with reading(self._engine) as connection:
            found = await load_sections(connection, statement)
            if not found and not await connection.scalar(sa.select(1).where(courses.c.id == course_id)):
                return None
            return found

    async def section(self, section_id: int) -> SectionView | None:
        """One section as it is now; None if there is none."""
        return (await self.sections([section_id])).get(section_id)

    async def sections(self, section_ids: Sequence[int]) -> Mapping[int, SectionView]:
        """Sections by id, as they are now. Those that do not exist are left out."""
        async with reading(self._engine) as connection:
            found = await load_sections(connection, SECTIONS_BY_ID, {"ids": list(section_ids)})
            return {section.id: section for section in found}


def _is_department(code: str) -> sa.ColumnElement[bool]:
    return folded(departments.c.code) == sa.select(folded(given(code))).scalar_subquery()


async def _requisites(connection: AsyncConnection, course_id: int) -> tuple[Requisite, ...]:
    rows = await connection.execute(
        sa.select(
            prerequisites.c.required_course_id.label("course_id"),
            courses.c.code,
            prerequisites.c.kind,
            prerequisites.c.min_grade.label("min_grade_tenths"),
        )
        .join(courses, courses.c.id == prerequisites.c.required_course_id)
        .where(prerequisites.c.course_id == course_id)
        .order_by(prerequisites.c.kind, *counting_order(courses.c.code))
    )
    return tuple(Requisite(**row) for row in rows.mappings())
