"""The facts that a mail about an enrolment states, read for many mails with two queries."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from datetime import date, datetime
from typing import NamedTuple

import asyncpg

# An event's id is its section and its number in the section's history, which has the time of the event.
FACTS = """
SELECT wanted.event_id, u.name, u.email, u.language, u.time_zone, c.code, c.title, s.id, s.code, s.component,
       t.name, t.starts_on, coalesce(h.at, now()),
       (SELECT count(*) FROM enrollments w
         WHERE w.section_id = e.section_id AND w.status = 'waitlisted' AND w.place <= e.place)
  FROM unnest($1::text[], $2::bigint[], $3::bigint[]) AS wanted(event_id, student_id, section_id)
  JOIN students st ON st.id = wanted.student_id
  JOIN users u ON u.id = st.user_id AND u.disabled_at IS NULL
  JOIN course_sections s ON s.id = wanted.section_id
  JOIN courses c ON c.id = s.course_id
  JOIN semesters t ON t.id = s.semester_id
  LEFT JOIN enrollment_history h
    ON h.section_id = s.id AND h.seq = split_part(wanted.event_id, ':', 2)::bigint AND h.student_id = st.id
  LEFT JOIN enrollments e
    ON e.student_id = st.id AND e.section_id = s.id AND e.status = 'waitlisted'"""

MEETINGS = """
SELECT m.section_id, m.weekday, m.start_minute, m.end_minute, r.code
  FROM course_schedules m LEFT JOIN classrooms r ON r.id = m.classroom_id
 WHERE m.section_id = ANY($1::bigint[]) ORDER BY m.weekday, m.start_minute, m.id"""


class MeetingFacts(NamedTuple):
    """When a section meets, in the campus's own time. ``weekday`` 0 is Monday."""

    weekday: int
    start_minute: int
    end_minute: int
    room: str | None


class MailFacts(NamedTuple):
    """The student, the section, and the time of the event. ``position`` is None unless they wait now."""

    name: str
    email: str
    language: str | None
    time_zone: str | None
    course_code: str
    course_title: str
    section_id: int
    section_code: str
    component: str
    semester: str
    starts_on: date | None
    at: datetime
    position: int | None
    meetings: tuple[MeetingFacts, ...]


class Wanted(NamedTuple):
    """An event about a student and a section."""

    event_id: str
    student_id: int
    section_id: int


async def load_mail_facts(connection: asyncpg.Connection, wanted: Sequence[Wanted]) -> dict[str, MailFacts]:
    """Facts by event id. Events of disabled accounts are left out."""
    columns = [list(column) for column in zip(*wanted, strict=True)]
    if not columns:
        return {}
    rows = await connection.fetch(FACTS, *columns)
    meetings: defaultdict[int, list[MeetingFacts]] = defaultdict(list)
    for section_id, *meeting in await connection.fetch(MEETINGS, list({row[7] for row in rows})):
        meetings[section_id].append(MeetingFacts(*meeting))
    return {
        event_id: MailFacts._make((*who_and_what, position or None, tuple(meetings[who_and_what[6]])))
        for event_id, *who_and_what, position in rows
    }
