"""Rights of the database role that serves requests, in real Postgres: what it may do and what it may not."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

import asyncpg
import pytest
from typer.testing import CliRunner, Result

from cluster.cli import app
from cluster.config.settings import read_settings, role_of, sqlalchemy_url
from cluster.doctor import CheckState
from cluster.doctor.services import check_postgres
from cluster.embedded import EmbeddedServices
from cluster.embedded.postgres import APP_USER
from persistence.schema.migrate import upgrade
from persistence.schema.roles import APP_RIGHTS, KEEPS_HISTORY
from persistence.schema.tables import metadata
from tests.conftest import database

pytestmark = pytest.mark.services


def as_role(url: str, role: str) -> str:
    """``url`` for another role."""
    parts = urlsplit(url)
    return urlunsplit(parts._replace(netloc=f"{role}@{parts.netloc.rpartition('@')[2]}"))


@pytest.fixture(scope="module")
async def owner(database_url: str) -> AsyncIterator[asyncpg.Connection]:
    """The owner of the tables, with a line of history and of audit to protect."""
    await upgrade(sqlalchemy_url(database_url), app_role=APP_USER)
    connection = await asyncpg.connect(database_url)
    await connection.execute(
        "INSERT INTO enrollment_history (section_id, seq, kind, number, epoch)"
        " VALUES (9001, 1, 'SectionCreated', 5, 0);"
        "INSERT INTO audit_log (action, subject) VALUES ('roster.read', 'section:1');"
        "INSERT INTO users (email, role) VALUES ('a@x', 'student');"
        "INSERT INTO students (user_id, student_number) SELECT id, 'A' FROM users"
    )
    yield connection
    await connection.close()


@pytest.fixture(scope="module")
async def served(owner: asyncpg.Connection, database_url: str) -> AsyncIterator[asyncpg.Connection]:
    """What somebody who took over an API process could connect as."""
    connection = await asyncpg.connect(as_role(database_url, APP_USER))
    yield connection
    await connection.close()


FORBIDDEN = [
    # history, stored answers and the audit log stay as they were written
    "UPDATE enrollment_history SET student_id = 2",
    "DELETE FROM enrollment_history",
    "TRUNCATE enrollment_history",
    "UPDATE audit_log SET user_id = NULL",
    "DELETE FROM audit_log",
    "TRUNCATE audit_log",
    "UPDATE enrollment_requests SET outcome = '[]'",
    "DELETE FROM enrollment_requests",
    "COPY enrollment_history FROM PROGRAM 'echo'",
    # and so do the locks on them
    "DROP TABLE enrollment_history",
    "DROP TABLE users CASCADE",
    "ALTER TABLE enrollment_history DISABLE TRIGGER ALL",
    "DROP TRIGGER enrollment_history_append_only ON enrollment_history",
    "DROP FUNCTION enrollment_history_refuse_change() CASCADE",
    "CREATE OR REPLACE FUNCTION enrollment_history_refuse_change() RETURNS trigger LANGUAGE plpgsql"
    " AS 'BEGIN RETURN NULL; END'",
    "CREATE RULE swallow AS ON INSERT TO enrollment_history DO INSTEAD NOTHING",
    "CREATE TRIGGER mine BEFORE INSERT ON enrollment_history EXECUTE FUNCTION enrollment_history_refuse_change()",
    "ALTER TABLE section_seats DROP CONSTRAINT section_seats_seats_check",
    "DROP INDEX enrollments_active_key",
    "CREATE TABLE enrollment_history_2 (x int)",
    "SET session_replication_role = replica",
    "DELETE FROM alembic_version",
    # seats and students are what the registrar made them
    "DELETE FROM enrollments",
    "UPDATE enrollments SET student_id = 2",
    "UPDATE enrollments SET section_id = 2",
    "UPDATE registration_records SET credit_limit = 999",
    "UPDATE registration_records SET holds = '{}'",
    """UPDATE registration_records SET completed = '{"1": 43}'""",
    "INSERT INTO section_seats (section_id, capacity, seq) VALUES (1, 5, 1)",
    "DELETE FROM section_seats",
    "UPDATE course_sections SET credits = 0",
    "DELETE FROM prerequisites",
    "UPDATE semesters SET registration_opens_at = now()",
    # nobody is made more than they are
    "UPDATE users SET role = 'admin'",
    "INSERT INTO users (email, role) VALUES ('b@x', 'admin')",
    "INSERT INTO admins (user_id) VALUES (1)",
    "UPDATE students SET user_id = 2",
    # nor written to elsewhere
    "UPDATE users SET email = 'eve@elsewhere.example'",
    "UPDATE notifications_sent SET event_id = '1:1'",
    "SET ROLE seatline",
    "CREATE ROLE mine LOGIN",
    "ALTER ROLE seatline_app SUPERUSER",
    "CREATE DATABASE mine",
    # nor is the machine reached
    "ALTER SYSTEM SET fsync = off",
    "SELECT pg_read_file('postgresql.conf')",
    "SELECT lo_import('/etc/passwd')",
    "COPY (SELECT 1) TO PROGRAM 'cat'",
    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'seatline' AND pid <> pg_backend_pid()",
]


@pytest.mark.parametrize("statement", FORBIDDEN)
async def test_the_role_that_serves_is_denied(
    owner: asyncpg.Connection, served: asyncpg.Connection, statement: str
) -> None:
    with pytest.raises(asyncpg.InsufficientPrivilegeError) as refused:
        await served.execute(statement)

    assert "append-only" not in str(refused.value), "it is the missing right that stops it, before any trigger does"
    assert await owner.fetchval("SELECT count(*) FROM enrollment_history WHERE student_id IS NULL") == 1
    assert await owner.fetchval("SELECT count(*) FROM audit_log") >= 1


@pytest.mark.parametrize(
    "statement", ["UPDATE audit_log SET user_id = 1", "DELETE FROM audit_log", "TRUNCATE audit_log"]
)
async def test_even_the_owner_does_not_rewrite_the_audit_log_by_mistake(
    owner: asyncpg.Connection, statement: str
) -> None:
    with pytest.raises(asyncpg.InsufficientPrivilegeError, match="append-only"):
        await owner.execute(statement)


async def test_it_can_add_to_what_it_cannot_change(served: asyncpg.Connection) -> None:
    await served.execute("INSERT INTO audit_log (action, subject) VALUES ('roster.read', 'section:2')")
    await served.execute(
        "INSERT INTO enrollment_history (section_id, seq, kind, number, epoch) VALUES (9002, 1, 'SectionCreated', 5, 0)"
    )
    assert await served.fetchval("SELECT nextval('enrollment_id_seq')") > 0
    assert await served.fetchval("SELECT count(*) FROM users") == 1


def test_every_table_is_granted_or_closed_on_purpose() -> None:
    assert set(APP_RIGHTS) == {*metadata.tables, "alembic_version"}


async def test_an_upgrade_takes_away_what_was_granted_by_hand(
    owner: asyncpg.Connection, served: asyncpg.Connection, database_url: str
) -> None:
    await owner.execute(
        f"GRANT ALL ON ALL TABLES IN SCHEMA public TO {APP_USER}; GRANT CREATE ON SCHEMA public TO PUBLIC"
    )
    await served.execute("CREATE TABLE mine (x int); DROP TABLE mine; DELETE FROM prerequisites")

    await upgrade(sqlalchemy_url(database_url), app_role=APP_USER)

    for statement in (
        "CREATE TABLE mine (x int)",
        "DELETE FROM prerequisites",
        "UPDATE enrollments SET student_id = 2",
    ):
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await served.execute(statement)


async def test_the_doctor_warns_of_a_role_that_could_rewrite_the_history(
    owner: asyncpg.Connection, database_url: str
) -> None:
    async def state(url: str) -> CheckState:
        (row,) = [row for row in await check_postgres(read_settings(), url) if row.name == "database role"]
        return row.state

    assert await state(database_url) is CheckState.WARN
    assert await state(as_role(database_url, APP_USER)) is CheckState.OK
    await owner.execute(f"GRANT UPDATE (place) ON enrollment_history TO {APP_USER}")
    assert await state(as_role(database_url, APP_USER)) is CheckState.WARN
    await owner.execute(f"REVOKE UPDATE (place) ON enrollment_history FROM {APP_USER}")


async def run(tmp_path: Path, *arguments: str, **environment: str) -> Result:
    others = dict.fromkeys(("RAY_ADDRESS", "PORT", "SEATLINE_ENV"))
    everything = {**others, "SEATLINE_HOME": str(tmp_path), "REDIS_URL": "redis://127.0.0.1:1", **environment}
    return await asyncio.to_thread(CliRunner().invoke, app, arguments, env=everything)


async def test_upgrades_and_seeds_run_as_the_owner_and_say_so_if_they_cannot(
    database_url: str, owner: asyncpg.Connection, tmp_path: Path
) -> None:
    served_url = as_role(database_url, APP_USER)
    both = {"DATABASE_URL": served_url, "SEATLINE_OWNER_DATABASE_URL": database_url}

    current = await run(tmp_path, "db", "upgrade", DATABASE_URL=served_url)
    denied = await run(tmp_path, "seed", "--sections", "2", "--students", "1", DATABASE_URL=served_url)
    seeded = await run(tmp_path, "seed", "--sections", "2", "--students", "1", **both)

    assert current.exit_code == 0, "with nothing to change, no right is needed"
    assert denied.exit_code == 3
    assert "SEATLINE_OWNER_DATABASE_URL" in denied.output
    assert seeded.exit_code == 0, seeded.output
    assert await owner.fetchval("SELECT count(*) FROM course_sections") == 2


async def test_a_role_that_is_not_there_is_named_with_the_statement_that_makes_it(
    database_url: str, tmp_path: Path
) -> None:
    result = await run(
        tmp_path,
        "db",
        "upgrade",
        DATABASE_URL=as_role(database_url, "nonesuch"),
        SEATLINE_OWNER_DATABASE_URL=database_url,
    )

    assert result.exit_code == 3
    assert 'CREATE ROLE "nonesuch" LOGIN' in result.output


@pytest.fixture
async def two_roles(services: EmbeddedServices) -> AsyncIterator[tuple[str, str]]:
    """An empty database with two roles, neither a superuser, made as docs/configuration.md says: owner's and app's."""
    admin = await asyncpg.connect(services.database_url)
    await admin.execute("CREATE ROLE campus_owner LOGIN")
    await admin.execute("CREATE ROLE campus_app LOGIN")
    await admin.execute("CREATE DATABASE campus OWNER campus_owner")
    url = database(services.database_url, "campus")
    yield as_role(url, "campus_owner"), as_role(url, "campus_app")
    await admin.execute("DROP DATABASE campus WITH (FORCE)")
    await admin.execute("DROP ROLE campus_app")
    await admin.execute("DROP ROLE campus_owner")
    await admin.close()


async def test_the_documented_set_up_needs_no_superuser(two_roles: tuple[str, str], tmp_path: Path) -> None:
    owner_url, app_url = two_roles
    both = {"DATABASE_URL": app_url, "SEATLINE_OWNER_DATABASE_URL": owner_url}

    upgraded = await run(tmp_path, "db", "upgrade", **both)
    seeded = await run(tmp_path, "seed", "--sections", "2", "--students", "1", **both)
    verified = await run(tmp_path, "verify", "--no-memory", DATABASE_URL=app_url)

    assert (upgraded.exit_code, seeded.exit_code, verified.exit_code) == (0, 0, 0), upgraded.output + verified.output
    served = await asyncpg.connect(app_url)
    with pytest.raises(asyncpg.InsufficientPrivilegeError):
        await served.execute("DELETE FROM enrollment_history")
    assert await served.fetchval(KEEPS_HISTORY)
    await served.close()


@pytest.mark.parametrize(
    ("url", "role"),
    [
        ("postgresql://app@host/db", "app"),
        ("postgresql://a%40b:secret@host/db", "a@b"),
        ("postgresql:///db?host=/run&user=app", "app"),
        ("postgresql://host/db", None),
    ],
)
def test_the_role_is_the_user_of_the_address(url: str, role: str | None) -> None:
    assert role_of(url) == role
