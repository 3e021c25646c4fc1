"""``seatline seed``: a realistic campus.

The same arguments give the same campus, and seeding twice changes nothing. Section sizes, meeting patterns and skew
follow measurements at real universities: `figures.py` names the sources.

Attribution: figures from UCSD-Historical-Enrollment-Data (GitHub, MIT licence) and from the International Timetabling
Competition 2019 (Muller, Rudova, Mullerova, Journal of Scheduling 2024).
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError

from persistence.imports.load.loader import importing, load
from persistence.imports.load.seat_changes import SendCommands, no_owner
from persistence.imports.report import ImportFileError, ImportProgress, ImportReport, no_progress
from persistence.imports.rows import Bundle, PersonRow, SemesterRow
from persistence.imports.seed.courses import WEEKS, add_courses
from persistence.imports.seed.people import add_demo_student, add_students

SECTIONS_MAX = 20_000
STUDENTS_MAX = 500_000

DEMO_LOGINS = {role: f"{role}@demo.seatline.example" for role in ("student", "teacher", "admin")}
"""Addresses of the demo users by role. All three have the same password."""

APPOINTMENT_DAYS = 4
OPEN_DAYS = 180

# As everywhere in Seatline: 19 MiB, two passes, one lane.
HASHER = PasswordHasher(time_cost=2, memory_cost=19 * 1024, parallelism=1)


@dataclass(frozen=True, slots=True)
class SeedReport:
    """The import of a campus, and its demo logins: addresses by role, empty without them."""

    imported: ImportReport
    demo_logins: dict[str, str]


def make_campus(
    sections: int, students: int, seed: int, *, demo_password_hash: str | None = None, now: datetime | None = None
) -> Bundle:
    """The rows of a campus.

    Args:
        sections: how many, of all courses and components together.
        students: how many, beside the demo student.
        seed: of all random choices. Every seed has its own semester; courses and students are shared.
        demo_password_hash: of the demo logins; None for none.
        now: the current time; registration opened a few days before it and ends half a year later.

    Raises:
        ImportFileError: if a number is out of range.
    """
    if not 1 <= sections <= SECTIONS_MAX or not 0 <= students <= STUDENTS_MAX:
        raise ImportFileError(f"a campus has 1 to {SECTIONS_MAX:,} sections and 0 to {STUDENTS_MAX:,} students")
    today = (now or datetime.now(UTC)).replace(hour=0, minute=0, second=0, microsecond=0)
    opens_at = today - timedelta(days=APPOINTMENT_DAYS)
    bundle = Bundle(
        SemesterRow(
            f"TERM-{seed}", f"Demonstration term {seed}", WEEKS, (today + timedelta(days=OPEN_DAYS)).date(),
            opens_at, today + timedelta(days=OPEN_DAYS),
        )
    )  # fmt: skip
    demo = demo_password_hash is not None
    emails = add_courses(bundle, sections, seed, DEMO_LOGINS["teacher"] if demo else None)
    bundle.staff = [PersonRow(email, f"Teacher {n:04d}", "teacher") for n, email in enumerate(emails, start=1)]
    add_students(bundle, students, seed)
    if demo:
        people = {role: PersonRow(e, f"Demo {role}", role, demo_password_hash) for role, e in DEMO_LOGINS.items()}
        bundle.staff += [people["teacher"], people["admin"]]
        add_demo_student(bundle, people["student"])
    return bundle


async def seed_campus(
    database_url: str,
    sections: int,
    students: int,
    seed: int,
    progress: ImportProgress = no_progress,
    *,
    demo_password: str | None = None,
    send_commands: SendCommands = no_owner,
) -> SeedReport:
    """Load a campus into the database, or complete the one that is there.

    Args:
        database_url: in the form for asyncpg, ``postgresql://``.
        sections, students, seed: see ``make_campus``.
        progress: called after each step.
        demo_password: makes a demo login for each role with this password; None makes none, as in production.
        send_commands: has commands decided by the owners of their sections: another campus of the same sections may
            have other numbers of seats.

    Raises:
        ImportFileError: if a number is out of range.
        SeatsNotChangedError: see ``load``.
    """
    progress("drawing the campus", 0, 0)
    hashed = HASHER.hash(demo_password) if demo_password is not None else None
    bundle = make_campus(sections, students, seed, demo_password_hash=hashed)
    async with importing(database_url) as connection:
        report = await load(connection, bundle, progress, send_commands)
        if demo_password is not None and hashed is not None:
            await _reset_demo_passwords(connection, demo_password, hashed)
    return SeedReport(report, dict(DEMO_LOGINS) if demo_password is not None else {})


async def _reset_demo_passwords(connection: Any, password: str, hashed: str) -> None:
    """Give demo logins that have another password this one, so that they can be used."""
    emails = list(DEMO_LOGINS.values())
    stored = await connection.fetch("SELECT id, password_hash FROM users WHERE lower(email) = ANY ($1)", emails)
    by_hash: dict[str, bool] = {row["password_hash"]: False for row in stored}
    for known in by_hash:
        by_hash[known] = _fits(known, password)
    ids = [row["id"] for row in stored if not by_hash[row["password_hash"]]]
    await connection.execute("UPDATE users SET password_hash = $2 WHERE id = ANY ($1::bigint[])", ids, hashed)


def _fits(hashed: str | None, password: str) -> bool:
    try:
        return hashed is not None and HASHER.verify(hashed, password)
    except (VerificationError, InvalidHashError):
        return False
