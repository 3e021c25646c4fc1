"""The checks that are one statement: each selects the rows that offend."""

from __future__ import annotations

from typing import NamedTuple

import asyncpg

from persistence.verify.findings import Offences


class Statement(NamedTuple):
    """An invariant, in words and as the query for its offenders. ``quiet``: may be offended for a moment under load."""

    invariant: str
    title: str
    sql: str
    quiet: bool = False


SEATS = Statement(
    "I1",
    "No section has more students than seats, and its counts are those of its enrolments",
    """
    WITH counted AS (
      SELECT section_id,
             count(*) FILTER (WHERE status = 'enrolled') AS enrolled,
             count(*) FILTER (WHERE status = 'waitlisted') AS waitlisted
        FROM enrollments WHERE status <> 'dropped' GROUP BY section_id)
    SELECT section_id, s.capacity, s.over_capacity, s.enrolled, s.waitlisted,
           coalesce(c.enrolled, 0) AS enrolled_rows, coalesce(c.waitlisted, 0) AS waitlisted_rows
      FROM section_seats s FULL JOIN counted c USING (section_id)
     WHERE s.capacity IS NULL OR coalesce(c.enrolled, 0) > s.capacity + s.over_capacity
        OR s.enrolled <> coalesce(c.enrolled, 0) OR s.waitlisted <> coalesce(c.waitlisted, 0)
     ORDER BY section_id""",
)

# The two forms of persistence/store/stored_outcomes.py: an object with named fields; of before, an array.
ANSWERS = """
    SELECT student_id, key, coalesce(o ->> 'code', o ->> 0) AS code,
           coalesce(o ->> 'section_id', o ->> 1)::bigint AS section_id,
           coalesce(o ->> 'enrollment_id', o ->> 2)::bigint AS enrollment_id
      FROM enrollment_requests, LATERAL (SELECT outcome::jsonb AS o) AS read"""

ACKNOWLEDGED = Statement(
    "I2",
    "Every enrolment and drop that was acknowledged is there",
    f"""
    WITH answers AS ({ANSWERS})
    SELECT a.student_id, a.key, a.code, a.section_id, a.enrollment_id, e.status::text AS status
      FROM answers a LEFT JOIN enrollments e
        ON e.id = a.enrollment_id AND e.student_id = a.student_id AND e.section_id = a.section_id
     WHERE (a.code IN ('enrolled', 'waitlisted') AND e.id IS NULL)
        OR (a.code = 'dropped' AND e.status IS DISTINCT FROM 'dropped')
     ORDER BY a.student_id, a.key""",  # noqa: S608
)

WAITING_FOR_FREE_SEATS = Statement(
    "I4",
    "No seat stays free while a student waits who is not known to be blocked",
    """
    SELECT s.section_id, s.capacity, s.enrolled, count(*) AS waiting_unblocked, min(e.place) AS first_place
      FROM section_seats s
      JOIN enrollments e ON e.section_id = s.section_id AND e.status = 'waitlisted' AND e.blocked_at IS NULL
      JOIN course_sections c ON c.id = s.section_id
      JOIN semesters t ON t.id = c.semester_id
     WHERE s.enrolled < s.capacity AND s.is_open
       AND (t.registration_closes_at IS NULL OR now() < t.registration_closes_at)
     GROUP BY s.section_id ORDER BY s.section_id""",
    quiet=True,
)

RECORDS = Statement(
    "I5",
    "No student has more credits than allowed, and their record is what their enrolments say",
    """
    WITH held AS (
      SELECT e.student_id, c.semester_id,
             coalesce(sum(e.credits) FILTER (WHERE e.status = 'enrolled'), 0) AS credits,
             array_agg(e.section_id ORDER BY e.section_id) FILTER (WHERE e.status = 'enrolled') AS enrolled,
             array_agg(e.section_id ORDER BY e.section_id) FILTER (WHERE e.status = 'waitlisted') AS waitlisted
        FROM enrollments e JOIN course_sections c ON c.id = e.section_id
       WHERE e.status <> 'dropped' GROUP BY e.student_id, c.semester_id)
    SELECT student_id, semester_id, r.credits, r.credit_limit, r.enrolled, r.waitlisted,
           coalesce(h.credits, 0) AS credits_of_rows,
           coalesce(h.enrolled, '{}') AS enrolled_rows, coalesce(h.waitlisted, '{}') AS waitlisted_rows
      FROM registration_records r FULL JOIN held h USING (student_id, semester_id)
     WHERE r.credits IS NULL OR r.credits > r.credit_limit OR r.credits <> coalesce(h.credits, 0)
        OR array(SELECT unnest(r.enrolled) ORDER BY 1) <> coalesce(h.enrolled, '{}')
        OR array(SELECT unnest(r.waitlisted) ORDER BY 1) <> coalesce(h.waitlisted, '{}')
     ORDER BY student_id, semester_id""",
)

# Pairs of seats of one student in one semester, each pair once.
PAIRS = """
      FROM enrollments a
      JOIN enrollments b ON b.student_id = a.student_id AND b.section_id > a.section_id AND b.status = 'enrolled'
      JOIN course_sections ca ON ca.id = a.section_id
      JOIN course_sections cb ON cb.id = b.section_id AND cb.semester_id = ca.semester_id"""

OVERLAPS = Statement(
    "I6",
    "No student holds two sections that meet at the same time",
    f"""
    SELECT DISTINCT a.student_id, a.section_id, b.section_id AS other_section_id
      {PAIRS}
      JOIN course_schedules ma ON ma.section_id = a.section_id
      JOIN course_schedules mb ON mb.section_id = b.section_id AND mb.weekday = ma.weekday
       AND mb.weeks & ma.weeks <> 0 AND mb.start_minute < ma.end_minute AND ma.start_minute < mb.end_minute
     WHERE a.status = 'enrolled'
     ORDER BY 1, 2, 3""",
)

COMPONENTS = Statement(
    "I6",
    "No student holds two sections of one component of a course, or a section twice",
    f"""
    SELECT a.student_id, a.section_id, b.section_id AS other_section_id, ca.course_id, ca.component
      {PAIRS} AND cb.course_id = ca.course_id AND cb.component = ca.component
     WHERE a.status = 'enrolled'
    UNION ALL
    SELECT e.student_id, e.section_id, e.section_id, c.course_id, c.component
      FROM enrollments e JOIN course_sections c ON c.id = e.section_id
     WHERE e.status <> 'dropped' GROUP BY e.student_id, e.section_id, c.id HAVING count(*) > 1
     ORDER BY 1, 2, 3""",  # noqa: S608
)

ONE_EFFECT = Statement(
    "I7",
    "No request had two effects, and no two requests share one",
    f"""
    WITH answers AS ({ANSWERS})
    SELECT student_id, NULL AS key, enrollment_id, count(*) AS times
      FROM answers WHERE code IN ('enrolled', 'waitlisted')
     GROUP BY student_id, enrollment_id HAVING count(*) > 1
    UNION ALL
    SELECT student_id, key, NULL, count(*) FROM answers GROUP BY student_id, key HAVING count(*) > 1
     ORDER BY 1, 2, 3""",  # noqa: S608
)

OUTBOX = Statement(
    "I10",
    "Every message in the outbox has an id of its own that names an event of the history",
    r"""
    WITH named AS (
      SELECT id, event_id, topic,
             CASE WHEN event_id ~ '^\d{1,18}:\d{1,18}$' THEN split_part(event_id, ':', 1)::bigint END AS section_id,
             CASE WHEN event_id ~ '^\d{1,18}:\d{1,18}$' THEN split_part(event_id, ':', 2)::bigint END AS seq,
             count(*) OVER (PARTITION BY event_id) AS times
        FROM outbox)
    SELECT n.id, n.event_id, n.topic, n.times, h.kind
      FROM named n LEFT JOIN enrollment_history h USING (section_id, seq)
     WHERE n.times > 1 OR h.kind IS NULL
     ORDER BY n.id""",
)

STATEMENTS = (SEATS, ACKNOWLEDGED, WAITING_FOR_FREE_SEATS, RECORDS, OVERLAPS, COMPONENTS, ONE_EFFECT, OUTBOX)


async def run_statement(connection: asyncpg.Connection, statement: Statement) -> list[Offences]:
    """The offenders of one statement. All of them are counted; only the first are kept."""
    offences = Offences(statement.invariant, statement.title)
    async for row in connection.cursor(statement.sql, prefetch=1000):
        offences.add(**dict(row))
    return [offences]
