"""Sections with their seats and meetings: the statements that several queries share."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from allocator.read_models import RoomedMeeting, SectionView
from persistence.tables import (
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


def select_sections() -> sa.Select[Any]:
    """Everything of ``SectionView`` but the meetings; add a condition."""
    return (
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


async def load_sections(connection: AsyncConnection, statement: sa.Select[Any]) -> list[SectionView]:
    """The sections that ``statement`` selects, with their meetings."""
    rows = (await connection.execute(statement)).mappings().all()
    meetings = await load_meetings(connection, [row["id"] for row in rows])
    return [SectionView(**row, meetings=tuple(meetings.get(row["id"], NO_MEETINGS))) for row in rows]


async def load_meetings(
    connection: AsyncConnection, section_ids: Collection[int]
) -> Mapping[int, Sequence[RoomedMeeting]]:
    """Meetings by section, in the order of the week. A section without any is left out."""
    if not section_ids:
        return {}
    rows = await connection.execute(
        sa.select(
            course_schedules.c.section_id,
            course_schedules.c.weekday,
            course_schedules.c.start_minute,
            course_schedules.c.end_minute,
            course_schedules.c.weeks,
            classrooms.c.code,
        )
        .outerjoin(classrooms, classrooms.c.id == course_schedules.c.classroom_id)
        .where(course_schedules.c.section_id == sa.any_(sa.literal(list(section_ids), sa.ARRAY(sa.BigInteger))))
        .order_by(course_schedules.c.weekday, course_schedules.c.start_minute, course_schedules.c.id)
    )
    found: defaultdict[int, list[RoomedMeeting]] = defaultdict(list)
    for section_id, *meeting in rows:
        found[section_id].append(RoomedMeeting(*meeting))
    return found
