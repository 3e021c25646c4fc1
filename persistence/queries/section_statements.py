"""Sections with their seats and meetings: the statements that several queries share."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from allocator.model.read_models import RoomedMeeting, SectionView
from persistence.schema.tables import (
    classrooms,
    course_schedules,
    course_sections,
    courses,
    section_seats,
    semesters,
    teachers,
    users,
)

NO_MEETINGS: Sequence[RoomedMeeting] = ()


# Statements are built once: building one for each request would cost as much as running it.

SELECT_SECTIONS = (
    sa.select(
        course_sections.c.id,
        course_sections.c.course_id,
        courses.c.code.label("course_code"),
        courses.c.title.label("course_title"),
        course_sections.c.semester_id,
        semesters.c.code.label("semester"),
        course_sections.c.code,
        course_sections.c.component,
        course_sections.c.credits,
        section_seats.c.capacity,
        section_seats.c.enrolled,
        section_seats.c.waitlisted,
        course_sections.c.waitlist_limit,
        section_seats.c.is_open,
        users.c.name.label("teacher"),
        section_seats.c.seq,
    )
    .select_from(course_sections)
    .join(section_seats, section_seats.c.section_id == course_sections.c.id)
    .join(courses, courses.c.id == course_sections.c.course_id)
    .join(semesters, semesters.c.id == course_sections.c.semester_id)
    .outerjoin(teachers, teachers.c.id == course_sections.c.teacher_id)
    .outerjoin(users, users.c.id == teachers.c.user_id)
)
"""All columns of ``SectionView`` but the meetings; a condition is added to it."""

ANY_OF_IDS = sa.any_(sa.bindparam("ids", type_=sa.ARRAY(sa.BigInteger)))
"""Compare a column with this, and pass a list as ``ids`` to the statement."""

SECTIONS_BY_ID = SELECT_SECTIONS.where(course_sections.c.id == ANY_OF_IDS)
_MEETINGS_BY_SECTION = (
    sa.select(
        course_schedules.c.section_id,
        course_schedules.c.weekday,
        course_schedules.c.start_minute,
        course_schedules.c.end_minute,
        course_schedules.c.weeks,
        classrooms.c.code,
    )
    .outerjoin(classrooms, classrooms.c.id == course_schedules.c.classroom_id)
    .where(course_schedules.c.section_id == ANY_OF_IDS)
    .order_by(course_schedules.c.weekday, course_schedules.c.start_minute, course_schedules.c.id)
)


async def load_sections(
    connection: AsyncConnection, statement: sa.Select[Any], values: Mapping[str, Any] | None = None
) -> list[SectionView]:
    """The sections that ``statement`` selects with these ``values``, with their meetings."""
    rows = (await connection.execute(statement, values)).mappings().all()
    meetings = await load_meetings(connection, [row["id"] for row in rows])
    return [SectionView(**row, meetings=tuple(meetings.get(row["id"], NO_MEETINGS))) for row in rows]


async def load_meetings(
    connection: AsyncConnection, section_ids: Collection[int]
) -> Mapping[int, Sequence[RoomedMeeting]]:
    """Meetings by section, in the order of the week. A section without any is left out."""
    if not section_ids:
        return {}
    rows = await connection.execute(_MEETINGS_BY_SECTION, {"ids": list(section_ids)})
    found: defaultdict[int, list[RoomedMeeting]] = defaultdict(list)
    for section_id, *meeting in rows:
        found[section_id].append(RoomedMeeting(*meeting))
    return found
