"""Steps of an import: accounts, students, and their registration records."""

from __future__ import annotations

from typing import Any

import orjson

from persistence.imports.load.staging import stage, upsert
from persistence.imports.report import Counts, ImportReport, Refusal
from persistence.imports.rows import Bundle, PersonRow

# An existing address keeps its role and its password; only the name follows the source.
UPSERT_USERS = """
INSERT INTO users (email, name, role, password_hash)
SELECT email, name, role::user_role, password_hash FROM {table} ORDER BY position
ON CONFLICT (lower(email)) DO UPDATE SET name = excluded.name
WHERE users.name <> excluded.name AND users.role = excluded.role
RETURNING xmax = 0
"""

MAKE_STUDENTS = """
INSERT INTO students (user_id, student_number, major_id, class_year)
SELECT users.id, t.number, majors.id, t.class_year
FROM t_students t
JOIN users ON lower(users.email) = lower(t.email) AND users.role = 'student'
LEFT JOIN majors ON majors.code = t.major
ORDER BY t.position
ON CONFLICT (student_number) DO UPDATE SET major_id = excluded.major_id, class_year = excluded.class_year
WHERE (students.major_id, students.class_year) IS DISTINCT FROM (excluded.major_id, excluded.class_year)
RETURNING xmax = 0
"""

# Another user has the address, or its student has another number.
REFUSED_STUDENTS = """
SELECT t.number, t.email FROM t_students t
JOIN users ON lower(users.email) = lower(t.email)
LEFT JOIN students ON students.user_id = users.id
WHERE users.role <> 'student' OR students.student_number <> t.number
"""

MAKE_RECORDS = """
INSERT INTO registration_records
    (student_id, semester_id, credit_limit, completed, holds, opens_at, closes_at)
SELECT students.id, $1, t.credit_limit, t.completed, t.holds, t.opens_at, t.closes_at
FROM t_records t JOIN students ON students.student_number = t.number
ORDER BY students.id
ON CONFLICT (student_id, semester_id) DO NOTHING
"""

# Not an ON CONFLICT DO UPDATE: that would lock every record for as long as the import takes.
LOCK_CHANGED_RECORDS = """
SELECT r.student_id, greatest(t.credit_limit, r.credits) AS credit_limit
FROM registration_records r
JOIN students ON students.id = r.student_id
JOIN t_records t ON t.number = students.student_number
WHERE r.semester_id = $1 AND r.credit_limit <> greatest(t.credit_limit, r.credits)
ORDER BY r.student_id
FOR UPDATE OF r
"""

CHANGE_RECORDS = """
UPDATE registration_records r SET credit_limit = new.credit_limit, version = r.version + 1
FROM unnest($2::bigint[], $3::integer[]) AS new (student_id, credit_limit)
WHERE r.student_id = new.student_id AND r.semester_id = $1
"""


async def load_staff(connection: Any, bundle: Bundle, report: ImportReport) -> None:
    """Load teachers and admins by address."""
    total = await stage(
        connection, "t_staff", _person_columns(), map(_person_row, range(len(bundle.staff)), bundle.staff)
    )
    if total == 0:
        return
    report.counts["staff"] = await upsert(connection, total, UPSERT_USERS.format(table="t_staff"))
    for table, role in (("teachers", "teacher"), ("admins", "admin")):
        await connection.execute(
            f"""
            INSERT INTO {table} (user_id)
            SELECT users.id FROM t_staff t JOIN users ON lower(users.email) = lower(t.email)
            WHERE users.role = '{role}' AND t.role = '{role}' ORDER BY t.position
            ON CONFLICT (user_id) DO NOTHING
            """  # noqa: S608  (both words are from the line above)
        )


def _person_columns() -> str:
    return "position integer, email text, name text, role text, password_hash text"


def _person_row(position: int, one: PersonRow) -> tuple[object, ...]:
    return position, one.email, one.name, one.role, one.password_hash


async def load_students(connection: Any, bundle: Bundle, report: ImportReport) -> None:
    """Load students by number."""
    columns = f"{_person_columns()}, number text, major text, class_year smallint"
    rows = [
        (*_person_row(position, one.person), one.number, one.major, one.class_year)
        for position, one in enumerate(bundle.students)
    ]
    total = await stage(connection, "t_students", columns, rows)
    if total == 0:
        return
    users = await upsert(connection, total, UPSERT_USERS.format(table="t_students"))
    refused = await connection.fetch(REFUSED_STUDENTS)
    for number, email in refused:
        report.refusals.append(Refusal(0, f"student {number}: the address {email} belongs to somebody else"))
    await connection.execute("DELETE FROM t_students WHERE number = ANY ($1)", [row["number"] for row in refused])
    students = await upsert(connection, total - len(refused), MAKE_STUDENTS)
    students.changed = max(students.changed, users.changed)
    students.unchanged = total - len(refused) - students.touched
    report.counts["students"] = students


async def load_records(connection: Any, bundle: Bundle, report: ImportReport) -> None:
    """Load registration records. Of an existing one only the credit limit changes, and never below the credits held.

    Completed courses, holds and windows of an existing record stay as they are: Seatline owns them, not the source.
    """
    if not bundle.records:
        return
    course_ids = {row["code"]: row["id"] for row in await connection.fetch("SELECT code, id FROM courses")}
    rows = [
        (
            one.number, one.credit_limit,
            orjson.dumps({str(course_ids[c]): grade for c, grade in one.completed.items() if c in course_ids}).decode(),
            list(one.holds), one.opens_at, one.closes_at,
        )
        for one in bundle.records
    ]  # fmt: skip
    columns = (
        "number text, credit_limit integer, completed jsonb, holds text[], opens_at timestamptz, closes_at timestamptz"
    )
    total = await stage(connection, "t_records", columns, rows)
    semester_id = await connection.fetchval("SELECT id FROM semesters WHERE code = $1", bundle.semester.code)
    made = int((await connection.execute(MAKE_RECORDS, semester_id)).split()[-1])
    different = await connection.fetch(LOCK_CHANGED_RECORDS, semester_id)
    ids, limits = [row["student_id"] for row in different], [row["credit_limit"] for row in different]
    await connection.execute(CHANGE_RECORDS, semester_id, ids, limits)
    report.counts["records"] = Counts(made, len(ids), total - made - len(ids))
