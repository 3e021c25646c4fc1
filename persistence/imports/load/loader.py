"""Loads a bundle of rows into the database, in bulk and in one transaction, and writes only rows that differ.

Rows are copied into temporary tables; from there one statement for each table inserts new rows and updates those that
differ. Sections that are in the database but not in the bundle are left as they are, and counted. Locks are taken in
the order of the whole system: students' records by id, then sections by id.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import AsyncIterator
from typing import Any

import asyncpg

from persistence.imports.load import catalogue as load_catalogue
from persistence.imports.load import people as load_people
from persistence.imports.load import sections as load_sections
from persistence.imports.load.known_codes import check_semester, refuse_other_spellings
from persistence.imports.load.seat_changes import SendCommands, change_seats, no_owner
from persistence.imports.report import ImportFileError, ImportProgress, ImportReport, no_progress
from persistence.imports.rows import Bundle

IMPORT_LOCK = 0x5EA7_11E0
"""Advisory lock: one import at a time, so that two of them cannot insert the same row."""

CATALOGUE_KINDS = ("semesters", "departments", "majors", "courses", "requisites", "rooms", "sections", "respelled")

LOADED_TABLES = (
    "semesters", "departments", "majors", "courses", "prerequisites", "classrooms", "users", "teachers", "admins",
    "students", "registration_records", "course_sections", "course_schedules", "section_seats", "enrollment_history",
)  # fmt: skip
"""All tables that an import writes. Enrolments, stored answers and the outbox are not among them."""

STEPS = (
    load_catalogue.load_semester,
    load_catalogue.load_departments,
    load_catalogue.load_majors,
    load_catalogue.load_courses,
    load_catalogue.load_requisites,
    load_catalogue.load_rooms,
    load_people.load_staff,
    load_people.load_students,
    load_people.load_records,
    load_sections.load_sections,
)


@contextlib.asynccontextmanager
async def importing(database_url: str) -> AsyncIterator[Any]:
    """A connection for an import: statements may take minutes, but it waits for a lock 10 seconds at most.

    Args:
        database_url: in the form for asyncpg, ``postgresql://``.
    """
    settings = {
        "application_name": "seatline-import", "statement_timeout": "300000", "lock_timeout": "10000",
        "idle_in_transaction_session_timeout": "60000", "timezone": "UTC",
    }  # fmt: skip
    connection = await asyncpg.connect(database_url, timeout=5.0, server_settings=settings)
    try:
        yield connection
    finally:
        await connection.close(timeout=5.0)


async def load(
    connection: Any,
    bundle: Bundle,
    progress: ImportProgress = no_progress,
    send_commands: SendCommands = no_owner,
    *,
    new_semester: bool = True,
) -> ImportReport:
    """Load ``bundle`` into the database: all of it or nothing but for seats, which are changed afterwards.

    Sections that are there and get another number of seats, or are closed or opened, are changed by commands to their
    owners, once everything else is committed. The same import again completes it if that was cut off.

    If all sections of the bundle are refused, nothing is changed, and the report says why.

    Args:
        connection: an asyncpg connection outside a transaction; see ``importing``.
        bundle: the rows.
        progress: called after each step.
        send_commands: has commands decided by the owners of their sections.
        new_semester: whether the semester may be one that is not there yet.

    Raises:
        ImportFileError: if the semester is not there, or the bundle has no sections, or other work on the same rows
            took longer than the lock timeout. Nothing was changed.
        SeatsNotChangedError: if some sections could not get their number of seats. All else was changed.
    """
    started = time.monotonic()
    report = ImportReport(bundle.semester.code, notes=bundle.notes.copy(), remarks=list(bundle.remarks))
    report.refusals += bundle.refusals
    try:
        async with connection.transaction():
            await connection.execute("SELECT pg_advisory_xact_lock($1)", IMPORT_LOCK)
            await check_semester(connection, bundle.semester, may_be_new=new_semester)
            bundle = await refuse_other_spellings(connection, bundle, report)
            if not bundle.sections:
                return _nothing(report)
            for done, step in enumerate(STEPS):
                progress("loading", done, len(STEPS))
                await step(connection, bundle, report)
            if any(report.counts[kind].touched for kind in CATALOGUE_KINDS if kind in report.counts):
                await _raise_catalogue_version(connection)
    except (asyncpg.LockNotAvailableError, asyncpg.DeadlockDetectedError) as error:
        raise ImportFileError(f"nothing was changed: other work held the rows too long ({error}); try again") from error
    if any(one.made for one in report.counts.values()):
        # Without it the first plans on the new rows would be those for empty tables. Only tables that an import fills:
        # one that ANALYZE sees empty gets plans that read it from end to end, and keeps them while it fills up.
        await connection.execute(f"ANALYZE {', '.join(LOADED_TABLES)}")
    progress("loading", len(STEPS), len(STEPS))
    await change_seats(report.seats, send_commands)
    report.refusals.sort()
    report.seconds = time.monotonic() - started
    return report


def _nothing(report: ImportReport) -> ImportReport:
    """The report of an import that changes nothing, for want of sections.

    Raises:
        ImportFileError: if none were refused either.
    """
    if not report.refusals:
        raise ImportFileError("there are no sections in it: nothing was changed")
    report.refusals.sort()
    report.remarks.append("No section could be imported: nothing was changed.")
    return report


async def _raise_catalogue_version(connection: Any) -> None:
    """Raise the version of the catalogue, so that running actors reload their facts."""
    await connection.execute(
        """
        INSERT INTO catalogue_version (only_row, version) VALUES (true, 1)
        ON CONFLICT (only_row) DO UPDATE SET version = catalogue_version.version + 1
        """
    )
