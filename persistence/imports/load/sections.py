"""The step of an import that concerns sections: their facts, meetings, seats and history."""

from __future__ import annotations

from typing import Any

from persistence.imports.load.staging import stage
from persistence.imports.report import Counts, ImportReport, SeatChanges
from persistence.imports.rows import Bundle

SECTION_COLUMNS = """
    source_key text, course text, code text, component text, credits smallint, capacity integer,
    waitlist_limit integer, teacher text, is_open boolean
"""

MEETING_COLUMNS = """
    source_key text, weekday smallint, start_minute smallint, end_minute smallint, weeks bigint, room text
"""

UPSERT_SECTIONS = """
INSERT INTO course_sections
    (course_id, semester_id, code, component, credits, waitlist_limit, teacher_id, source_key)
SELECT c.id, $1, t.code, t.component, t.credits, t.waitlist_limit, teachers.id, t.source_key
FROM t_sections t
JOIN courses c ON c.code = t.course
LEFT JOIN users ON lower(users.email) = lower(t.teacher)
LEFT JOIN teachers ON teachers.user_id = users.id
ORDER BY c.code, t.code, t.source_key
ON CONFLICT (semester_id, source_key) DO UPDATE
SET course_id = excluded.course_id, code = excluded.code, component = excluded.component,
    credits = excluded.credits, waitlist_limit = excluded.waitlist_limit,
    -- A source without teachers does not take away the one that was assigned.
    teacher_id = coalesce(excluded.teacher_id, course_sections.teacher_id)
WHERE (course_sections.course_id, course_sections.code, course_sections.component, course_sections.credits,
       course_sections.waitlist_limit, course_sections.teacher_id)
    IS DISTINCT FROM (excluded.course_id, excluded.code, excluded.component, excluded.credits,
       excluded.waitlist_limit, coalesce(excluded.teacher_id, course_sections.teacher_id))
RETURNING id, xmax = 0 AS made
"""

# A section begins its history when it is made: seats and first events in one statement.
MAKE_SEATS = """
WITH made AS (
    INSERT INTO section_seats (section_id, capacity, is_open, seq)
    SELECT s.id, t.capacity, t.is_open, CASE WHEN t.is_open THEN 1 ELSE 2 END
    FROM t_sections t JOIN course_sections s ON s.semester_id = $1 AND s.source_key = t.source_key
    WHERE NOT EXISTS (SELECT FROM section_seats WHERE section_id = s.id)
    ORDER BY s.id
    RETURNING section_id, capacity, is_open, epoch
)
INSERT INTO enrollment_history (section_id, seq, kind, number, epoch)
SELECT section_id, 1, 'SectionCreated', capacity, epoch FROM made
UNION ALL
SELECT section_id, 2, 'SectionClosed', NULL, epoch FROM made WHERE NOT is_open
"""

OTHER_CAPACITIES = """
SELECT seats.section_id, t.capacity
FROM section_seats seats
JOIN course_sections s ON s.id = seats.section_id
JOIN t_sections t ON t.source_key = s.source_key
WHERE s.semester_id = $1 AND seats.capacity <> t.capacity
ORDER BY seats.section_id
"""

# A section that the source has closed is to be closed, unless somebody opened it since it got its number of seats. One
# that the source has open is to be opened if it was an import that closed it: by whom is in the detail of the event.
OPENINGS = """
SELECT seats.section_id, t.is_open AS opens
FROM section_seats seats
JOIN course_sections s ON s.id = seats.section_id
JOIN t_sections t ON t.source_key = s.source_key
LEFT JOIN LATERAL (
    SELECT kind, detail FROM enrollment_history h
    WHERE h.section_id = seats.section_id AND h.kind IN ('SectionClosed', 'SectionOpened')
    ORDER BY h.seq DESC LIMIT 1
) last ON true
WHERE s.semester_id = $1 AND seats.is_open <> t.is_open
    AND CASE
        WHEN t.is_open THEN last.kind = 'SectionClosed' AND last.detail IS NULL
        ELSE seats.capacity <> t.capacity OR last.kind IS NULL OR last.detail IS NULL
    END
ORDER BY seats.section_id
"""

STAGE_MEETINGS = """
CREATE TEMPORARY TABLE t_wanted ON COMMIT DROP AS
SELECT s.id AS section_id, t.weekday, t.start_minute, t.end_minute, t.weeks, rooms.id AS classroom_id
FROM t_meetings t
JOIN course_sections s ON s.semester_id = $1 AND s.source_key = t.source_key
LEFT JOIN classrooms rooms ON rooms.code = t.room
"""

STALE_MEETINGS = """
WITH present AS (
    SELECT m.section_id, m.weekday, m.start_minute, m.end_minute, m.weeks, m.classroom_id
    FROM course_schedules m
    JOIN course_sections s ON s.id = m.section_id
    JOIN t_sections t ON t.source_key = s.source_key
    WHERE s.semester_id = $1
)
SELECT DISTINCT section_id FROM (
    (SELECT * FROM t_wanted EXCEPT ALL SELECT * FROM present)
    UNION ALL
    (SELECT * FROM present EXCEPT ALL SELECT * FROM t_wanted)
) different
"""

REPLACE_MEETINGS = """
INSERT INTO course_schedules (section_id, weekday, start_minute, end_minute, weeks, classroom_id)
SELECT * FROM t_wanted WHERE section_id = ANY ($1::bigint[])
ORDER BY section_id, weekday, start_minute
"""

COUNT_VANISHED = """
SELECT count(*) FROM course_sections s
WHERE s.semester_id = $1 AND s.source_key IS NOT NULL
    AND NOT EXISTS (SELECT FROM t_sections t WHERE t.source_key = s.source_key)
    AND s.source_key <> ALL ($2::text[])
"""


async def load_sections(connection: Any, bundle: Bundle, report: ImportReport) -> None:
    """Sections by their key in the source, with everything that hangs on them."""
    if not bundle.sections:
        return
    semester_id = await connection.fetchval("SELECT id FROM semesters WHERE code = $1", bundle.semester.code)
    await _stage(connection, bundle)
    written = await connection.fetch(UPSERT_SECTIONS, semester_id)
    made = {row["id"] for row in written if row["made"]}
    changed = {row["id"] for row in written} - made
    await connection.execute(MAKE_SEATS, semester_id)
    changed |= await _seat_changes(connection, semester_id, report)
    changed |= await _replace_meetings(connection, semester_id, report) - made
    total = len(bundle.sections)
    report.counts["sections"] = Counts(len(made), len(changed), total - len(made) - len(changed))
    report.notes["sections_not_in_file"] = await connection.fetchval(
        COUNT_VANISHED, semester_id, sorted(bundle.refused_keys)
    )


async def _stage(connection: Any, bundle: Bundle) -> None:
    sections = (
        (s.source_key, s.course, s.code, s.component, s.credits, s.capacity, s.waitlist_limit, s.teacher, s.is_open)
        for s in bundle.sections
    )
    await stage(connection, "t_sections", SECTION_COLUMNS, sections)
    meetings = ((s.source_key, *meeting) for s in bundle.sections for meeting in s.meetings)
    await stage(connection, "t_meetings", MEETING_COLUMNS, meetings)


async def _seat_changes(connection: Any, semester_id: int, report: ImportReport) -> set[int]:
    """Note which sections are to get another number of seats, to be closed or opened. Their owners do it afterwards."""
    rows = await connection.fetch(OTHER_CAPACITIES, semester_id)
    openings = await connection.fetch(OPENINGS, semester_id)
    report.seats = SeatChanges(
        {row["section_id"]: row["capacity"] for row in rows},
        closed=[row["section_id"] for row in openings if not row["opens"]],
        opened=[row["section_id"] for row in openings if row["opens"]],
    )
    report.notes["capacities_changed"] = len(rows)
    report.notes["sections_closed"] = len(report.seats.closed)
    report.notes["sections_opened"] = len(report.seats.opened)
    return {*report.seats.capacities, *report.seats.closed, *report.seats.opened}


async def _replace_meetings(connection: Any, semester_id: int, report: ImportReport) -> set[int]:
    await connection.execute(STAGE_MEETINGS, semester_id)
    stale = [row["section_id"] for row in await connection.fetch(STALE_MEETINGS, semester_id)]
    if stale:
        await connection.execute("DELETE FROM course_schedules WHERE section_id = ANY ($1::bigint[])", stale)
        await connection.execute(REPLACE_MEETINGS, stale)
    return set(stale)
