"""Rosters: the students of a section. Implements ``api.ports.RosterReader``."""

from __future__ import annotations

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncEngine

from allocator.model.read_models import Roster, RosterEntry
from persistence.queries.connection import reading
from persistence.schema.tables import ACTIVE, course_sections, enrollments, students, teachers, users


class RosterQueries:
    """Rosters in Postgres."""

    def __init__(self, engine: AsyncEngine) -> None:
        self._engine = engine

    async def teacher_user_id(self, section_id: int) -> int | None:
        """The user id of the section's teacher; None if it has none."""
        statement = (
            sa.select(teachers.c.user_id)
            .join(course_sections, course_sections.c.teacher_id == teachers.c.id)
            .where(course_sections.c.id == section_id)
        )
        async with reading(self._engine) as connection:
            user_id: int | None = await connection.scalar(statement)
            return user_id

    async def roster(self, section_id: int) -> Roster | None:
        """The students of a section; None if there is no such section."""
        statement = (
            sa.select(
                enrollments.c.id,
                enrollments.c.student_id,
                students.c.student_number,
                users.c.name,
                enrollments.c.place,
                enrollments.c.status,
            )
            .join(students, students.c.id == enrollments.c.student_id)
            .join(users, users.c.id == students.c.user_id)
            .where(enrollments.c.section_id == section_id, ACTIVE)
            .order_by(users.c.name, students.c.student_number)
        )
        async with reading(self._engine) as connection:
            if not await connection.scalar(sa.select(1).where(course_sections.c.id == section_id)):
                return None
            rows = (await connection.execute(statement)).all()
        seated = [RosterEntry(*row[:4], None) for row in rows if row.status == "enrolled"]
        waiting = [RosterEntry(*row[:5]) for row in rows if row.status == "waitlisted"]
        waiting.sort(key=lambda entry: entry.place or 0)
        return Roster(section_id, tuple(seated), tuple(waiting))
