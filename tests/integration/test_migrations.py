"""Migrations: up, down and up again; the schema equals the tables in the code; constraints of the schema."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any, TypeVar

import asyncpg
import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from sqlalchemy.ext.asyncio import create_async_engine

from cluster.config.settings import sqlalchemy_url
from persistence.schema import migrate
from persistence.schema.tables import metadata

pytestmark = pytest.mark.services

T = TypeVar("T")

CHECKS = """
SELECT conrelid::regclass::text, conname, pg_get_constraintdef(oid)
  FROM pg_constraint WHERE contype = 'c' AND connamespace = 'public'::regnamespace ORDER BY 1, 2"""

INDEXES = "SELECT indexname, indexdef FROM pg_indexes WHERE schemaname = 'public' ORDER BY 1"

OPTIONS = "SELECT relname, reloptions FROM pg_class WHERE reloptions IS NOT NULL ORDER BY 1"

SEQUENCES = "SELECT sequencename, increment_by, cache_size FROM pg_sequences WHERE schemaname = 'public' ORDER BY 1"

ENUMS = """
SELECT typname, array_agg(enumlabel::text ORDER BY enumsortorder)
  FROM pg_enum JOIN pg_type t ON t.oid = enumtypid GROUP BY 1 ORDER BY 1"""


@asynccontextmanager
async def connected(url: str) -> AsyncIterator[asyncpg.Connection]:
    connection = await asyncpg.connect(url)
    try:
        yield connection
    finally:
        await connection.close()


async def in_sync(url: str, work: Callable[[sa.Connection], T]) -> T:
    engine = create_async_engine(sqlalchemy_url(url), poolclass=sa.NullPool)
    try:
        async with engine.begin() as connection:
            return await connection.run_sync(work)
    finally:
        await engine.dispose()


async def rows_of(url: str, statement: str) -> list[tuple[Any, ...]]:
    async with connected(url) as connection:
        return [tuple(row) for row in await connection.fetch(statement)]


async def tables(url: str) -> set[str]:
    statement = "SELECT tablename FROM pg_tables WHERE schemaname = 'public'"
    return {row[0] for row in await rows_of(url, statement)}


async def test_up_down_and_up_again(empty_database_url: str) -> None:
    url = sqlalchemy_url(empty_database_url)
    assert await migrate.current(url) is None
    await migrate.upgrade(url)
    assert await migrate.current(url) == migrate.head()
    assert await tables(empty_database_url) == {*metadata.tables, "alembic_version"}
    await migrate.downgrade(url, "base")
    assert await migrate.current(url) is None
    assert await tables(empty_database_url) == {"alembic_version"}
    assert await rows_of(empty_database_url, ENUMS) == []
    assert await rows_of(empty_database_url, SEQUENCES) == []
    await migrate.upgrade(url)
    assert await migrate.current(url) == migrate.head()


async def test_upgrading_again_changes_nothing(database_url: str) -> None:
    await migrate.upgrade(sqlalchemy_url(database_url))
    assert await rows_of(database_url, "SELECT only_row, version FROM catalogue_version") == [(True, 1)]


async def test_many_upgrade_at_once(empty_database_url: str) -> None:
    url = sqlalchemy_url(empty_database_url)
    await asyncio.gather(*(migrate.upgrade(url) for _ in range(8)))
    assert await migrate.current(url) == migrate.head()


async def test_a_migration_that_fails_leaves_nothing(empty_database_url: str) -> None:
    async with connected(empty_database_url) as connection:
        await connection.execute("CREATE TABLE outbox (in_the_way int)")
    with pytest.raises(sa.exc.ProgrammingError):
        await migrate.upgrade(sqlalchemy_url(empty_database_url))
    assert await tables(empty_database_url) == {"outbox"}


async def test_no_drift(database_url: str) -> None:
    def compare(connection: sa.Connection) -> list[Any]:
        options = {"compare_type": True, "compare_server_default": True}
        return list(compare_metadata(MigrationContext.configure(connection, opts=options), metadata))

    assert await in_sync(database_url, compare) == []


@pytest.mark.parametrize("statement", [CHECKS, INDEXES, OPTIONS, SEQUENCES, ENUMS])
async def test_no_drift_in_what_alembic_does_not_compare(
    database_url: str, empty_database_url: str, statement: str
) -> None:
    await in_sync(empty_database_url, metadata.create_all)
    migrated = [row for row in await rows_of(database_url, statement) if not str(row[0]).startswith("alembic_")]
    assert migrated == await rows_of(empty_database_url, statement)
    assert migrated


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE enrollment_history SET place = 1",
        "DELETE FROM enrollment_history",
        "TRUNCATE enrollment_history",
    ],
)
async def test_history_cannot_be_changed(database_url: str, statement: str) -> None:
    async with connected(database_url) as connection:
        await connection.execute(
            "INSERT INTO enrollment_history (section_id, seq, kind, number, epoch)"
            " VALUES (1, 1, 'SectionCreated', 5, 0) ON CONFLICT DO NOTHING"
        )
        with pytest.raises(asyncpg.InsufficientPrivilegeError, match="append-only") as caught:
            await connection.execute(statement)
        assert "drop the database" in caught.value.hint
        assert await connection.fetchval("SELECT count(*) FROM enrollment_history") == 1


CAMPUS = """
INSERT INTO departments (id, code, name) VALUES (1, 'D', 'D');
INSERT INTO courses (id, department_id, code, title) VALUES (1, 1, 'C', 'C');
INSERT INTO semesters (id, code, name) VALUES (1, 'S', 'S');
INSERT INTO course_sections (id, course_id, semester_id, code, component, credits) VALUES (1, 1, 1, '1', 'LE', 4);
INSERT INTO section_seats (section_id, capacity, seq) VALUES (1, 2, 1);
INSERT INTO users (id, email, role) VALUES (1, 'A@x', 'student');
INSERT INTO students (id, user_id, student_number) VALUES (1, 1, 'A');
INSERT INTO registration_records (student_id, semester_id, credit_limit) VALUES (1, 1, 18);
INSERT INTO enrollments (id, student_id, section_id, status, credits) VALUES (1, 1, 1, 'enrolled', 4);
"""


@asynccontextmanager
async def on_campus(url: str) -> AsyncIterator[asyncpg.Connection]:
    """A connection that sees one student in one section, and whose changes are never committed."""
    async with connected(url) as connection:
        transaction = connection.transaction()
        await transaction.start()
        await connection.execute(CAMPUS)
        yield connection
        await transaction.rollback()


@pytest.mark.parametrize(
    ("statement", "constraint"),
    [
        ("UPDATE section_seats SET enrolled = 3", "section_seats_seats_check"),
        ("UPDATE section_seats SET enrolled = -1", "section_seats_seats_check"),
        ("UPDATE section_seats SET waitlisted = -1", "section_seats_not_negative_check"),
        ("UPDATE registration_records SET credits = 19", "registration_records_credits_check"),
        ("UPDATE enrollments SET status = 'waitlisted'", "enrollments_place_check"),
        (
            "INSERT INTO enrollments (id, student_id, section_id, status, credits, place)"
            " VALUES (2, 1, 1, 'waitlisted', 0, 1)",
            "enrollments_active_key",
        ),
        ("INSERT INTO users (id, email, role) VALUES (2, 'a@X', 'admin')", "users_email_key"),
        ("INSERT INTO catalogue_version (only_row, version) VALUES (false, 1)", "catalogue_version_only_row_check"),
    ],
)
async def test_backstops_hold(database_url: str, statement: str, constraint: str) -> None:
    async with on_campus(database_url) as connection:
        with pytest.raises(asyncpg.IntegrityConstraintViolationError) as caught:
            await connection.execute(statement)
        assert caught.value.constraint_name == constraint


async def test_a_dropped_enrolment_does_not_stand_in_the_way(database_url: str) -> None:
    async with on_campus(database_url) as connection:
        await connection.execute("UPDATE enrollments SET status = 'dropped'")
        await connection.execute(
            "INSERT INTO enrollments (id, student_id, section_id, status, credits) VALUES (2, 1, 1, 'enrolled', 4)"
        )
