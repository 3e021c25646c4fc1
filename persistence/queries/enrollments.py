"""Enrolments of students. Implements ``api.ports.EnrollmentReader``."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncEngine

from allocator.model.read_models import EnrollmentView, ScheduledSection
from persistence.queries.connection import reading
from persistence.queries.gathered_reads import GatheredReads
from persistence.queries.section_statements import ANY_OF_IDS, NO_MEETINGS, load_meetings
from persistence.queries.typed_text import counting_order
from persistence.schema.tables import ACTIVE, course_sections, courses, enrollments, semesters

# Statements are built once: building one for each request would cost as much as running it.

# For a student who waits, the credits that the seat would have.
_CREDITS = sa.case((enrollments.c.status == "waitlisted", course_sections.c.credits), else_=enrollments.c.credits)
_SELECT = (
    sa.select(
        enrollments.c.id,
        enrollments.c.student_id,
        enrollments.c.section_id,
        course_sections.c.semester_id,
        semesters.c.code.label("semester"),
        courses.c.code.label("course_code"),
        courses.c.title.label("course_title"),
        course_sections.c.code.label("section_code"),
        course_sections.c.component,
        _CREDITS.label("credits"),
        enrollments.c.status,
        enrollments.c.place,
        enrollments.c.blocked_by,
        enrollments.c.created_at,
        enrollments.c.updated_at,
    )
    .select_from(enrollments)
    .join(course_sections, course_sections.c.id == enrollments.c.section_id)
    .join(courses, courses.c.id == course_sections.c.course_id)
    .join(semesters, semesters.c.id == course_sections.c.semester_id)
)
_BY_ID = _SELECT.where(enrollments.c.id == ANY_OF_IDS)
_HELD_BY = _SELECT.where(enrollments.c.student_id == ANY_OF_IDS, ACTIVE).order_by(
    *counting_order(courses.c.code), *counting_order(course_sections.c.code), enrollments.c.id
)

_mine, _others = enrollments.alias("mine"), enrollments.alias("others")
_AHEAD = sa.and_(
    _others.c.section_id == _mine.c.section_id,
    _others.c.status == "waitlisted",
    _others.c.place <= _mine.c.place,
)
_POSITIONS = (
    sa.select(_mine.c.id, sa.func.count())
    .join(_others, _AHEAD)
    .where(_mine.c.id == ANY_OF_IDS, _mine.c.status == "waitlisted")
    .group_by(_mine.c.id)
)


class EnrollmentQueries:
    """Enrolments in Postgres."""

    def __init__(self, engine: AsyncEngine) -> None:
        self._engine = engine
        self._found = GatheredReads(self._find)
        self._held = GatheredReads(self._held_by)

    async def find(self, enrollment_id: int) -> EnrollmentView | None:
        """One enrolment of any student, including dropped ones."""
        return await self._found.get(enrollment_id)

    async def held_by(self, student_id: int) -> Sequence[EnrollmentView]:
        """The seats and places that the student holds now."""
        return await self._held.get(student_id) or []

    async def positions(self, enrollment_ids: Sequence[int]) -> Mapping[int, int]:
        """Positions on their waitlists by enrolment, 1 being next. Enrolments that do not wait are left out."""
        if not enrollment_ids:
            return {}
        async with reading(self._engine) as connection:
            return {row[0]: row[1] for row in await connection.execute(_POSITIONS, {"ids": list(enrollment_ids)})}

    async def schedule(self, student_id: int, semester_id: int | None) -> Sequence[ScheduledSection]:
        """The sections in which the student holds a seat."""
        statement = (
            sa.select(
                course_sections.c.id.label("section_id"),
                semesters.c.code.label("semester"),
                courses.c.code.label("course_code"),
                courses.c.title.label("course_title"),
                course_sections.c.code.label("section_code"),
                course_sections.c.component,
            )
            .select_from(enrollments)
            .join(course_sections, course_sections.c.id == enrollments.c.section_id)
            .join(courses, courses.c.id == course_sections.c.course_id)
            .join(semesters, semesters.c.id == course_sections.c.semester_id)
            .where(enrollments.c.student_id == student_id, enrollments.c.status == "enrolled")
            .order_by(*counting_order(courses.c.code), *counting_order(course_sections.c.code))
        )
        if semester_id is not None:
            statement = statement.where(course_sections.c.semester_id == semester_id)
        async with reading(self._engine) as connection:
            rows = (await connection.execute(statement)).mappings().all()
            meetings = await load_meetings(connection, [row["section_id"] for row in rows])
        return [ScheduledSection(**row, meetings=tuple(meetings.get(row["section_id"], NO_MEETINGS))) for row in rows]

    async def _find(self, enrollment_ids: Sequence[int]) -> Mapping[int, EnrollmentView]:
        return {one.id: one for one in await self._select(_BY_ID, enrollment_ids)}

    async def _held_by(self, student_ids: Sequence[int]) -> Mapping[int, Sequence[EnrollmentView]]:
        held: defaultdict[int, list[EnrollmentView]] = defaultdict(list)
        for one in await self._select(_HELD_BY, student_ids):
            held[one.student_id].append(one)
        return held

    async def _select(self, statement: sa.Select[Any], ids: Sequence[int]) -> list[EnrollmentView]:
        async with reading(self._engine) as connection:
            rows = (await connection.execute(statement, {"ids": list(ids)})).mappings().all()
        return [EnrollmentView(**{**row, "blocked_by": tuple(row["blocked_by"] or ())}) for row in rows]
