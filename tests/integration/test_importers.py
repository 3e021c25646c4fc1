"""Importers on real Postgres: they are idempotent, count what they change, and keep the history whole."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from allocator.model.commands import CloseSection, OpenSection
from allocator.model.delivery import Undecided
from allocator.model.outcomes import Code, ReasonCode
from persistence.imports.formats.ucsd import read_ucsd
from persistence.imports.load.loader import LOADED_TABLES, importing, load
from persistence.imports.load.seat_changes import deciding_here
from persistence.imports.report import ImportFileError, ImportReport, SeatsNotChangedError
from persistence.imports.rows import (
    Bundle,
    CourseRow,
    DepartmentRow,
    MeetingRow,
    PersonRow,
    RecordRow,
    RoomRow,
    SectionRow,
    SemesterRow,
    StudentRow,
)
from persistence.imports.seed.campus import DEMO_LOGINS, HASHER, seed_campus
from persistence.store.postgres import PostgresStore
from persistence.verify import verify
from tests.drain_loop import ask, ask_for_reply, enroll, make_service, running

pytestmark = pytest.mark.services

MONDAY = MeetingRow(0, 540, 590, 0b111, "Room 1")
TUESDAY = MeetingRow(1, 540, 590, 0b111, None)


@pytest.fixture
async def connection(fresh_database_url: str) -> AsyncIterator[Any]:
    async with importing(fresh_database_url) as opened:
        yield opened


def bundle(*sections: SectionRow, students: int = 3, credit_limit: int = 12) -> Bundle:
    made = Bundle(
        SemesterRow("T1", "Term", 3),
        departments=[DepartmentRow("AAA", "Things")],
        courses=[CourseRow("AAA 1", "AAA", "One"), CourseRow("AAA 2", "AAA", "Two")],
        rooms=[RoomRow("Room 1", 50)],
    )
    for section in sections:
        assert made.add_section(section)
    for number in range(1, students + 1):
        person = PersonRow(f"s{number}@x.example", f"S {number}", "student")
        made.students.append(StudentRow(f"N{number}", person))
        made.records.append(RecordRow(f"N{number}", credit_limit, {"AAA 1": 30}))
    return made


def section(key: str, capacity: int = 2, *meetings: MeetingRow, course: str = "AAA 2") -> SectionRow:
    return SectionRow(1, key, course, f"A{key}", "lecture", 4, capacity, meetings, is_open=capacity > 0)


def counts(report: ImportReport, kind: str) -> tuple[int, int, int]:
    one = report.counts[kind]
    return one.made, one.changed, one.unchanged


async def version(connection: Any) -> int:
    return int(await connection.fetchval("SELECT coalesce(max(version), 0) FROM catalogue_version"))


async def test_twice_is_once(connection: Any) -> None:
    wanted = bundle(section("1", 2, MONDAY, TUESDAY), section("2"))
    first = await load(connection, wanted)
    assert counts(first, "sections") == (2, 0, 0)
    assert counts(first, "students") == counts(first, "records") == (3, 0, 0)
    before = await version(connection)
    again = await load(connection, wanted)
    assert not again.changed_anything
    assert counts(again, "sections") == (0, 0, 2)
    assert await version(connection) == before
    assert await connection.fetchval("SELECT count(*) FROM enrollment_history") == 2
    assert await connection.fetchval("SELECT completed FROM registration_records LIMIT 1") is not None


async def test_statistics_are_made_of_what_was_filled_only(connection: Any) -> None:
    """A table that was analyzed while empty gets plans that read it whole; -1 means that nobody has looked yet."""
    await load(connection, bundle(section("1", 2, MONDAY)))
    rows = await connection.fetch(
        "SELECT relname, reltuples FROM pg_class WHERE relkind = 'r' AND relnamespace = 'public'::regnamespace"
    )
    seen = {row["relname"]: row["reltuples"] for row in rows}
    assert {seen[table] for table in ("enrollments", "enrollment_requests", "outbox")} == {-1}
    assert seen["students"] == 3
    for table in set(seen) - set(LOADED_TABLES) - {"alembic_version", "catalogue_version"}:
        assert not await connection.fetchval(f"SELECT EXISTS (SELECT FROM {table})"), table


async def test_each_kind_of_change_is_seen(connection: Any, fresh_database_url: str) -> None:
    await load(connection, bundle(section("1", 2, MONDAY), section("2"), section("3"), section("4")))
    before = await version(connection)
    changed = bundle(section("1", 2, TUESDAY), section("2", 5), section("3", course="AAA 1"), credit_limit=15)
    async with deciding_here(fresh_database_url) as send_commands:
        report = await load(connection, changed, send_commands=send_commands)
    assert counts(report, "sections") == (0, 3, 0)
    assert counts(report, "records") == (0, 3, 0)
    assert report.notes["sections_not_in_file"] == 1
    assert report.notes["capacities_changed"] == 1
    assert await version(connection) == before + 1
    rows = await connection.fetch("SELECT weekday FROM course_schedules")
    assert [row["weekday"] for row in rows] == [1]
    assert not (await load(connection, changed)).changed_anything


async def test_students_alone_do_not_touch_the_catalogue(connection: Any) -> None:
    await load(connection, bundle(section("1")))
    before = await version(connection)
    report = await load(connection, bundle(section("1"), students=5))
    assert counts(report, "students") == (2, 0, 3)
    assert await version(connection) == before


async def test_a_changed_capacity_fences_the_owner_and_replays(connection: Any, fresh_database_url: str) -> None:
    await load(connection, bundle(section("1", 2)))
    ids = [row["id"] for row in await connection.fetch("SELECT id FROM students ORDER BY id")]
    section_id = await connection.fetchval("SELECT id FROM course_sections")
    async with running(make_service(PostgresStore(fresh_database_url))) as service:
        for student_id in ids:
            await ask(service, enroll(student_id, section_id))
        epoch = await connection.fetchval("SELECT epoch FROM section_seats")
        async with deciding_here(fresh_database_url) as send_commands:
            await load(connection, bundle(section("1", 1)), send_commands=send_commands)
        seats = await connection.fetchrow("SELECT * FROM section_seats")
        assert (seats["capacity"], seats["enrolled"], seats["over_capacity"]) == (1, 2, 1)
        assert seats["epoch"] == epoch + 1
        assert await verify(fresh_database_url) == []
        reply = await ask_for_reply(service, enroll(ids[0], section_id))
        assert reply.code in {Undecided.MOVED, Code.REFUSED}
        async with deciding_here(fresh_database_url) as send_commands:
            await load(connection, bundle(section("1", 3)), send_commands=send_commands)
        await _until_enrolled(connection, service, section_id, ids)
    assert await verify(fresh_database_url) == []


async def test_seats_that_cannot_be_changed_are_said_and_changed_by_the_next_import(
    connection: Any, fresh_database_url: str
) -> None:
    await load(connection, bundle(section("1", 2)))
    with pytest.raises(SeatsNotChangedError):
        await load(connection, bundle(section("1", 5, TUESDAY)))
    assert await connection.fetchval("SELECT capacity FROM section_seats") == 2
    assert await connection.fetchval("SELECT weekday FROM course_schedules") == 1
    async with deciding_here(fresh_database_url) as send_commands:
        report = await load(connection, bundle(section("1", 5, TUESDAY)), send_commands=send_commands)
    assert report.notes["capacities_changed"] == 1
    assert await connection.fetchval("SELECT capacity FROM section_seats") == 5
    assert await verify(fresh_database_url) == []


CAT = "subj_course_id\tsec_code\tsec_id\ttotal_seats\tmeetings\n"


def catalogue(tmp_path: Path, *rows: str) -> Bundle:
    path = tmp_path / "h2_sections.tsv"
    path.write_text(CAT + "".join(f"{row}\n" for row in rows))
    return read_ucsd(path, semester="T1")


async def is_open(connection: Any) -> bool:
    return bool(await connection.fetchval("SELECT is_open FROM section_seats"))


async def test_a_section_without_seats_is_closed(connection: Any, fresh_database_url: str, tmp_path: Path) -> None:
    """Field case 6: it was open, and gave out places on a list of nothing."""
    await load(connection, bundle(section("1")))
    await load(connection, catalogue(tmp_path, "CANC 1\tA00\t9301\t0\tLE,M,13:00 - 13:50,CENTR 2"))
    student_id = await connection.fetchval("SELECT min(id) FROM students")
    section_id = await connection.fetchval("SELECT id FROM course_sections WHERE source_key = '9301'")
    async with running(make_service(PostgresStore(fresh_database_url))) as service:
        answer = await ask(service, enroll(student_id, section_id))
    assert answer.code is Code.REFUSED
    assert answer.reasons[0].code is ReasonCode.SECTION_CLOSED
    assert await verify(fresh_database_url) == []


async def test_a_section_that_goes_to_no_seats_is_closed_by_its_owner_and_opened_again(
    connection: Any, fresh_database_url: str
) -> None:
    await load(connection, bundle(section("1", 2)))
    async with deciding_here(fresh_database_url) as send_commands:
        report = await load(connection, bundle(section("1", 0)), send_commands=send_commands)
        assert (report.notes["sections_closed"], report.notes["capacities_changed"]) == (1, 1)
        assert not await is_open(connection)
        assert not (await load(connection, bundle(section("1", 0)), send_commands=send_commands)).changed_anything
        report = await load(connection, bundle(section("1", 5)), send_commands=send_commands)
        assert report.notes["sections_opened"] == 1
        assert await is_open(connection)
        assert not (await load(connection, bundle(section("1", 5)), send_commands=send_commands)).changed_anything
    assert await verify(fresh_database_url) == []


async def test_an_import_opens_only_what_an_import_closed(connection: Any, fresh_database_url: str) -> None:
    await load(connection, bundle(section("1", 2)))
    section_id = await connection.fetchval("SELECT id FROM course_sections")
    async with deciding_here(fresh_database_url) as send_commands:
        await send_commands([CloseSection(section_id, 7)])
        await load(connection, bundle(section("1", 0)), send_commands=send_commands)
        await load(connection, bundle(section("1", 5)), send_commands=send_commands)
        assert not await is_open(connection), "staff closed it"
        await send_commands([OpenSection(section_id, 7)])
        await load(connection, bundle(section("1", 0)), send_commands=send_commands)
        assert not await is_open(connection), "the file changed"
        await send_commands([OpenSection(section_id, 7)])
        await load(connection, bundle(section("1", 0)), send_commands=send_commands)
        assert await is_open(connection), "staff opened it although it has no seats, and the file is the same"
    assert await verify(fresh_database_url) == []


async def test_a_semester_that_was_not_asked_for_is_not_made(connection: Any) -> None:
    with pytest.raises(ImportFileError, match="There are: none yet"):
        await load(connection, bundle(section("1")), new_semester=False)
    assert await connection.fetchval("SELECT count(*) FROM semesters") == 0
    await load(connection, bundle(section("1")))
    await load(connection, bundle(section("2")), new_semester=False)
    other = bundle(section("1"))
    other.semester = SemesterRow("T2", "Term 2", 3)
    with pytest.raises(ImportFileError, match=r"no semester 'T2'.* There are: 'T1'"):
        await load(connection, other, new_semester=False)
    other.semester = SemesterRow("t1", "Term 1", 3)
    with pytest.raises(ImportFileError, match="differs by case only from 'T1'"):
        await load(connection, other)


@pytest.mark.parametrize(
    ("row", "why"),
    [
        ("aaa 9\tA00\t9\t1\t", "department 'aaa' differs by case only from 'AAA', which is in the database"),
        ("AAA 2b\tA00\t9\t1\t", "course 'AAA 2b' differs by case only from 'AAA 2B', which is in the database"),
        ("AAA 2B\tB00\t7\t1\t", "section id '7' differs by leading zeros only from '007', which is in the database"),
        ("AAA 2B\ta01\t9\t1\t", "section code 'a01' differs by case only from 'A01', which is in the database"),
    ],
)
async def test_what_looks_like_something_in_the_database_is_refused(
    connection: Any, tmp_path: Path, row: str, why: str
) -> None:
    room = "LE,M,13:00 - 13:50,HALL 2"
    await load(connection, catalogue(tmp_path, f"AAA 2B\tA01\t007\t1\t{room}"))
    report = await load(connection, catalogue(tmp_path, row, f"BBB 3\tA01\t8\t1\t{room.replace('HALL', 'Hall')}"))
    assert [one.reason for one in report.refusals] == [why]
    assert counts(report, "sections") == (1, 0, 0)
    assert counts(report, "rooms") == (0, 0, 0), "a room that looks the same is the same"
    assert await connection.fetchval("SELECT count(*) FROM courses") == 2
    assert await connection.fetchval("SELECT count(*) FROM course_schedules WHERE classroom_id IS NULL") == 0


async def test_what_was_imported_with_spaces_is_cleaned(connection: Any, tmp_path: Path) -> None:
    """Before, codes were kept as they were written. Their courses and sections must not be made a second time."""
    row = "ÉCO 1\tA01\t007\t1\t"
    await load(connection, catalogue(tmp_path, row))
    await connection.execute("UPDATE courses SET code = ' E\u0301CO  1 '")
    await connection.execute("UPDATE departments SET code = 'E\u0301CO'")
    await connection.execute("UPDATE course_sections SET source_key = '007 '")
    before = await version(connection)
    report = await load(connection, catalogue(tmp_path, row))
    assert counts(report, "respelled") == (0, 3, 0)
    assert not report.refusals
    assert await version(connection) == before + 1
    assert await connection.fetchval("SELECT array_agg(code) FROM courses") == ["ÉCO 1"]
    assert await connection.fetchval("SELECT array_agg(code) FROM departments") == ["ÉCO"]
    assert await connection.fetchval("SELECT array_agg(source_key) FROM course_sections") == ["007"]
    assert not (await load(connection, catalogue(tmp_path, row))).changed_anything


async def test_a_refused_row_has_not_vanished(connection: Any, tmp_path: Path) -> None:
    await load(connection, catalogue(tmp_path, "AAA 2\tA01\t007\t1\t", "AAA 2\tA02\t008\t1\t", "AAA 2\tA03\t9\t1\t"))
    report = await load(connection, catalogue(tmp_path, "AAA 2\tA01\t007\tmany\t", "AAA 2\tA02\t008\t1\t"))
    assert report.notes["sections_not_in_file"] == 1


async def test_an_import_of_nothing_changes_nothing(connection: Any, tmp_path: Path) -> None:
    with pytest.raises(ImportFileError, match="no sections"):
        await load(connection, catalogue(tmp_path))
    report = await load(connection, catalogue(tmp_path, "AAA 2\tA01\t007\tmany\t"))
    assert len(report.refusals) == 1
    assert not report.counts
    assert await connection.fetchval("SELECT count(*) FROM semesters") == 0


async def _until_enrolled(connection: Any, service: Any, section_id: int, ids: list[int]) -> None:
    """The next request activates the section again, which promotes who waits."""
    for _ in range(50):
        await ask(service, enroll(ids[0], section_id))
        if await connection.fetchval("SELECT enrolled FROM section_seats") == len(ids):
            return
        await asyncio.sleep(0.05)
    raise AssertionError("the waiting student was not promoted")


async def test_a_credit_limit_is_never_cut_below_what_is_held(connection: Any) -> None:
    await load(connection, bundle(section("1")))
    await connection.execute(
        "UPDATE registration_records SET credits = 8 WHERE student_id = (SELECT min(id) FROM students)"
    )
    await load(connection, bundle(section("1"), credit_limit=4))
    limits = await connection.fetch("SELECT credit_limit FROM registration_records ORDER BY student_id")
    assert [row["credit_limit"] for row in limits] == [8, 4, 4]
    assert not (await load(connection, bundle(section("1"), credit_limit=4))).changed_anything


async def test_an_address_of_somebody_else_is_refused(connection: Any) -> None:
    await connection.execute("INSERT INTO users (email, role) VALUES ('S2@x.example', 'admin')")
    report = await load(connection, bundle(section("1")))
    assert counts(report, "students") == (2, 0, 0)
    assert [one.reason for one in report.refusals] == ["student N2: the address s2@x.example belongs to somebody else"]
    assert await connection.fetchval("SELECT role FROM users WHERE email = 'S2@x.example'") == "admin"


async def test_two_imports_at_once_make_everything_once(fresh_database_url: str) -> None:
    wanted = bundle(*(section(str(number), 2, MONDAY) for number in range(50)), students=50)

    async def one() -> ImportReport:
        async with importing(fresh_database_url) as connection:
            return await load(connection, wanted)

    reports = await asyncio.gather(one(), one(), one())
    assert sorted(counts(report, "sections")[0] for report in reports) == [0, 0, 50]
    assert await verify(fresh_database_url) == []


async def test_rows_that_are_held_too_long_leave_everything_as_it_was(connection: Any, fresh_database_url: str) -> None:
    await load(connection, bundle(section("1", 2)))
    other = await asyncpg.connect(fresh_database_url)
    await connection.execute("SET lock_timeout = '200ms'")
    transaction = other.transaction()
    await transaction.start()
    await other.execute("SELECT FROM course_sections FOR UPDATE")
    with pytest.raises(ImportFileError, match="nothing was changed"):
        await load(connection, bundle(section("1", 9, course="AAA 2"), section("2")))
    await transaction.rollback()
    await other.close()
    assert await connection.fetchval("SELECT count(*) FROM course_sections") == 1


async def test_seeding_twice_changes_nothing_and_keeps_the_password(connection: Any, fresh_database_url: str) -> None:
    first = await seed_campus(fresh_database_url, 60, 100, 1, demo_password="first password")
    assert counts(first.imported, "sections") == (60, 0, 0)
    again = await seed_campus(fresh_database_url, 60, 100, 1, demo_password="first password")
    assert not again.imported.changed_anything
    await seed_campus(fresh_database_url, 60, 100, 1, demo_password="another password")
    stored = await connection.fetch(
        "SELECT password_hash FROM users WHERE email = ANY ($1)", list(DEMO_LOGINS.values())
    )
    assert len(stored) == 3
    assert all(HASHER.verify(row["password_hash"], "another password") for row in stored)
    assert await connection.fetchval("SELECT count(*) FROM users WHERE password_hash IS NOT NULL") == 3
    assert await verify(fresh_database_url) == []


@pytest.mark.data
async def test_the_real_catalogue_twice(connection: Any, fresh_database_url: str, shared_data: Path) -> None:
    catalogue = read_ucsd(shared_data / "ucsd" / "sp22_sections.tsv.gz")
    first = await load(connection, catalogue)
    assert counts(first, "sections") == (8507, 0, 0)
    assert first.seconds < 60
    assert not (await load(connection, catalogue)).changed_anything
    assert await verify(fresh_database_url) == []
