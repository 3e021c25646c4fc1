"""Seatline's tables as SQLAlchemy ORM classes, for the conventional peer."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import DeclarativeBase

from allocator.model.catalogue import Meeting, Prerequisite, SectionFacts, Term
from allocator.model.events import SeatTaken, StudentWaitlisted
from allocator.model.record import RecordKey, RegistrationRecord
from persistence.schema import tables


class OrmBase(DeclarativeBase):
    """The base of ORM classes on tables that are defined in ``persistence.schema.tables``."""

    metadata = tables.metadata
    if TYPE_CHECKING:

        def __getattr__(self, name: str) -> Any: ...


class OrmSection(OrmBase):
    """A section in the catalogue."""

    __table__ = tables.course_sections
    if TYPE_CHECKING:
        id: Any


class OrmSemester(OrmBase):
    """A term."""

    __table__ = tables.semesters
    if TYPE_CHECKING:
        id: Any


class OrmSeats(OrmBase):
    """A section's seats."""

    __table__ = tables.section_seats
    if TYPE_CHECKING:
        capacity: int
        enrolled: int
        waitlisted: int
        last_place: int
        seq: int
        epoch: int
        is_open: bool


class OrmRecord(OrmBase):
    """A student's registration record."""

    __table__ = tables.registration_records
    if TYPE_CHECKING:
        version: int
        credits: int
        enrolled: list[int]
        waitlisted: list[int]


class OrmEnrollment(OrmBase):
    """A seat or a place."""

    __table__ = tables.enrollments


class OrmHistoryRow(OrmBase):
    """An event."""

    __table__ = tables.enrollment_history


class OrmStoredAnswer(OrmBase):
    """The outcome of a request."""

    __table__ = tables.enrollment_requests


class OrmOutboxMessage(OrmBase):
    """A message to deliver."""

    __table__ = tables.outbox


async def facts_of(session: AsyncSession, sections: Iterable[OrmSection]) -> dict[int, SectionFacts]:
    """The facts of sections that the rules need, by id."""
    wanted = {one.id: one for one in sections}
    schedules, requisites = tables.course_schedules, tables.prerequisites
    meetings: dict[int, list[Meeting]] = {}
    for row in await session.execute(sa.select(schedules).where(schedules.c.section_id.in_(wanted))):
        meeting = Meeting(row.weekday, row.start_minute, row.end_minute, row.weeks)
        meetings.setdefault(row.section_id, []).append(meeting)
    before: dict[int, list[Prerequisite]] = {}
    alongside: dict[int, list[int]] = {}
    courses = {one.course_id for one in wanted.values()}
    for row in await session.execute(sa.select(requisites).where(requisites.c.course_id.in_(courses))):
        if row.kind == "prerequisite":
            before.setdefault(row.course_id, []).append(Prerequisite(row.required_course_id, row.min_grade))
        else:
            alongside.setdefault(row.course_id, []).append(row.required_course_id)
    terms = {}
    for semester_id in {one.semester_id for one in wanted.values()}:
        semester = await session.get_one(OrmSemester, semester_id)
        window = seconds(semester.registration_opens_at), seconds(semester.registration_closes_at)
        terms[semester_id] = Term(semester_id, *window)
    return {
        one.id: SectionFacts(
            one.id, one.course_id, one.component, one.credits, one.waitlist_limit, terms[one.semester_id],
            tuple(meetings.get(one.id, ())), tuple(before.get(one.course_id, ())),
            tuple(alongside.get(one.course_id, ())),
        )
        for one in wanted.values()
    }  # fmt: skip


def record_of(row: OrmRecord) -> RegistrationRecord:
    """The record in a row. Its lists are copies, because the ORM only notices lists that are assigned."""
    return RegistrationRecord(
        RecordKey(row.student_id, row.semester_id), row.version, row.credits, row.credit_limit,
        list(row.enrolled), list(row.waitlisted),
        {int(course): grade for course, grade in row.completed.items()},
        tuple(row.holds), seconds(row.opens_at), seconds(row.closes_at),
    )  # fmt: skip


def enrollment_of(event: SeatTaken | StudentWaitlisted) -> OrmEnrollment:
    """The row of a new enrolment."""
    seat = isinstance(event, SeatTaken)
    return OrmEnrollment(
        id=event.enrollment_id,
        student_id=event.student_id,
        section_id=event.section_id,
        status="enrolled" if seat else "waitlisted",
        credits=event.credits if isinstance(event, SeatTaken) else 0,
        place=None if isinstance(event, SeatTaken) else event.place,
    )


def seconds(at: datetime | None) -> float | None:
    """Unix seconds."""
    return None if at is None else at.timestamp()
