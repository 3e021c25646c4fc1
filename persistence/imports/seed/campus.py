"""``seatline seed``: a believable campus of our own making.

The same arguments give the same campus, and seeding twice changes nothing. Section sizes, meeting patterns and skew
follow what was measured at real universities: see ``seed_figures``, which names the sources.

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
from persistence.imports.report import ImportFileError, ImportProgress, ImportReport, no_progress
from persistence.imports.rows import Bundle, PersonRow, SemesterRow
from persistence.imports.seed.courses import WEEKS, add_courses
from persistence.imports.seed.people import add_demo_student, add_students

SECTIONS_MAX = 20_000
STUDENTS_MAX = 500_000

DEMO_LOGINS = {role: f"{role}@demo.seatline.example" for role in ("student", "teacher", "admin")}
"""Address by role. All three have the same password."""

APPOINTMENT_DAYS = 4
OPEN_DAYS = 180

# As everywhere in Seatline: 19 MiB, two passes, one lane.
HASHER = PasswordHasher(time_cost=2, memory_cost=19 * 1024, parallelism=1)


@dataclass(frozen=True, slots=True)
class SeedReport:
    """What was made, and whom one can log in as: addresses by role, empty without demo logins."""

    imported: ImportReport
    demo_logins: dict[str, str]


def make_campus(
    sections: int, students: int, seed: int, *, demo_password_hash: str | None = None, now: datetime | None = None
) -> Bundle:
    """The rows of a campus.

    Args:
        sections: how many, of all courses and components together.
        students: how many, beside the demo student.
        seed: what the chances of this campus hang on. Every seed has its own semester; courses and students are shared.
        demo_password_hash: adds the demo logins, with this hash.
        now: registration opened a few days before and ends half a year later.

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
) -> SeedReport:
    """Make a campus in the database, or complete the one that is there.

    Args:
        database_url: as asyncpg wants it, ``postgresql://``.
        sections, students, seed: see ``make_campus``.
        progress: told of the steps.
        demo_password: makes one login a role with this password; with None there are none, as production wants it.

    Raises:
        ImportFileError: if a number is out of range.
    """
    progress("drawing the campus", 0, 0)
    hashed = HASHER.hash(demo_password) if demo_password is not None else None
    bundle = make_campus(sections, students, seed, demo_password_hash=hashed)
    async with importing(database_url) as connection:
        report = await load(connection, bundle, progress)
        if demo_password is not None and hashed is not None:
            await _mend_demo_passwords(connection, demo_password, hashed)
    return SeedReport(report, dict(DEMO_LOGINS) if demo_password is not None else {})


async def _mend_demo_passwords(connection: Any, password: str, hashed: str) -> None:
    """Give demo logins that were made with another password this one: else nobody could use them."""
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
