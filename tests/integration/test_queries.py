"""The queries of the API in real Postgres, on a campus that is changed by the real drain loop."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from allocator.model.catalogue import Meeting
from allocator.ports import StoreBusyError, StoreUnavailableError
from allocator.turns.service import SectionService
from cluster.config.settings import sqlalchemy_url
from persistence.queries.catalogue import CatalogueQueries
from persistence.queries.connection import reading
from persistence.queries.engine import make_engine
from persistence.queries.enrollments import EnrollmentQueries
from persistence.queries.rosters import RosterQueries
from tests.drain_loop import ask, drop, enroll, make_service, running
from tests.sample_campus import PostgresWorld, monday

pytestmark = pytest.mark.services


@pytest.fixture
async def engine(database_url: str) -> AsyncIterator[AsyncEngine]:
    engine = make_engine(sqlalchemy_url(database_url))
    yield engine
    await engine.dispose()


@pytest.fixture
async def world(database_url: str) -> AsyncIterator[PostgresWorld]:
    world = await PostgresWorld.create(database_url)
    yield world
    await world.close()


@pytest.fixture
async def service(world: PostgresWorld) -> AsyncIterator[SectionService]:
    async with running(make_service(world.store())) as service:
        yield service


async def one_course(world: PostgresWorld, code: str, title: str = "A course") -> int:
    course_id = await world.add_course()
    await world.connection.execute("UPDATE courses SET code = $2, title = $3 WHERE id = $1", course_id, code, title)
    return course_id


async def list_codes(engine: AsyncEngine, **conditions: Any) -> list[str]:
    none = {"semester_id": None, "department": None, "text": None, "after_code": None, "limit": 100}
    return [one.code for one in await CatalogueQueries(engine).courses(**{**none, **conditions})]


async def test_courses_by_page_semester_department_and_text(engine: AsyncEngine, world: PostgresWorld) -> None:
    department: str = await world.connection.fetchval(
        "SELECT d.code FROM departments d ORDER BY d.id DESC LIMIT 1",
    )
    codes = ["ZZ 1", "ZZ 2", "ZZ 3", "ZZ 10"]
    ids = [await one_course(world, code, f"Title of 100% {code}") for code in codes]
    await world.add_section(10, course_id=ids[1])

    assert await list_codes(engine, department=department) == codes
    assert await list_codes(engine, department=department, limit=2) == codes[:2]
    assert await list_codes(engine, department=department, after_code="ZZ 2") == codes[2:]
    assert await list_codes(engine, semester_id=world.semester_id) == ["ZZ 2"]
    assert await list_codes(engine, text="zz 3") == ["ZZ 3"]
    assert await list_codes(engine, text="of 100% zz 1") == ["ZZ 1", "ZZ 10"]
    assert await list_codes(engine, text="zz_3") == [], "a wildcard of SQL is only a character"
    assert await list_codes(engine, text="'; DROP TABLE courses; --") == []


@pytest.mark.parametrize(
    ("typed", "code"),
    [
        *[(one, "QMAT 101") for one in ("QMAT 101", "qmat 101", "QMAT101", "qmat-101", "QMAT\u2013101", "qmat  101")],
        *[
            (one, "QUB 5")
            for one in ("\u00dcbung", "u\u0308bung", "ubung", "UBUNG", "ubung f\u00fcr", "strasse", "stra\u00dfe")
        ],
        *[(one, "Q\u00c9CO 101") for one in ("q\u00e9co", "qe\u0301co 101", "QECO101", "qeco-101")],
        *[(one, "Q\u00d8L 7") for one in ("Q\u00d8L 7", "q\u00f8l7", "qol 7", "QOL-7")],
        ("100% q_x", "QPC 1"),
        *[(one, None) for one in ("100% q-x", "q_x 1", "qpc_1", "zqzq", "---")],
    ],
)
async def test_what_people_type_finds_what_they_mean(
    engine: AsyncEngine, typed_world: PostgresWorld, typed: str, code: str | None
) -> None:
    assert await list_codes(engine, text=typed) == ([code] if code else [])


@pytest.fixture(scope="module")
async def typed_world(database_url: str) -> AsyncIterator[PostgresWorld]:
    world = await PostgresWorld.create(database_url)
    await one_course(world, "QMAT 101", "Analysis")
    await one_course(world, "QUB 5", "\u00dcbung f\u00fcr die Stra\u00dfe")
    await one_course(world, "Q\u00c9CO 101", "March\u00e9s")
    await one_course(world, "Q\u00d8L 7", "Brewing")
    await one_course(world, "QPC 1", "100% q_x")
    yield world
    await world.close()


async def test_a_department_is_named_in_any_case(engine: AsyncEngine, world: PostgresWorld) -> None:
    course_id = await one_course(world, "DPT 1")
    await world.connection.execute(
        "WITH d AS (INSERT INTO departments (code, name) VALUES ('D\u00e9pT', '') RETURNING id) "
        "UPDATE courses SET department_id = d.id FROM d WHERE courses.id = $1",
        course_id,
    )

    for typed in ("D\u00e9pT", "d\u00c9pt", "de\u0301pt", "DEPT"):
        assert await list_codes(engine, department=typed) == ["DPT 1"]
        assert await CatalogueQueries(engine).has_department(typed)
    assert not await CatalogueQueries(engine).has_department("nonesuch")


async def test_pages_follow_each_other_as_people_count(engine: AsyncEngine, world: PostgresWorld) -> None:
    counted = ["PG 2", "PG 8A", "PG 8B", "PG 12", "PG 101", "PG 101L"]
    codes = ["PEH 3", "P\u00c9H 5", *counted, "PH 20", "PH-20", "pi 4", "PI 10"]
    for code in reversed(codes):
        await one_course(world, code, "counted")

    for size in range(1, len(codes) + 1):
        seen: list[str] = []
        after: str | None = None
        while page := await list_codes(engine, text="counted", after_code=after, limit=size):
            seen += page
            after = page[-1]
        assert seen == codes

    course_id = await one_course(world, "PG 999")
    for code in ("A12", "A2", "A100"):
        section_id = await world.add_section(1, course_id=course_id)
        await world.connection.execute("UPDATE course_sections SET code = $2 WHERE id = $1", section_id, code)
    sections = await CatalogueQueries(engine).sections_of_course(course_id, None)
    assert [one.code for one in sections or ()] == ["A2", "A12", "A100"]


async def test_a_course_with_its_requisites(engine: AsyncEngine, world: PostgresWorld) -> None:
    course_id, needed, beside = [await one_course(world, f"RQ {number}") for number in (3, 1, 2)]
    await world.connection.execute(
        "INSERT INTO prerequisites (course_id, required_course_id, kind, min_grade) "
        "VALUES ($1, $2, 'prerequisite', 20), ($1, $3, 'corequisite', NULL)",
        course_id,
        needed,
        beside,
    )

    course = await CatalogueQueries(engine).course(course_id)

    assert course is not None
    assert {(one.code, one.kind, one.min_grade_tenths) for one in course.requisites} == {
        ("RQ 1", "prerequisite", 20),
        ("RQ 2", "corequisite", None),
    }
    assert await CatalogueQueries(engine).course(10**12) is None


async def test_semesters_are_current_until_their_last_week_is_over(engine: AsyncEngine, world: PostgresWorld) -> None:
    await world.connection.execute(
        "INSERT INTO semesters (code, name, starts_on, weeks) VALUES "
        "('now', '', current_date - 100, 15), ('over', '', current_date - 105, 15), ('next', '', current_date + 9, 15)"
    )

    current = {one.code: one.is_current for one in await CatalogueQueries(engine).semesters()}

    assert (current["now"], current["over"], current["next"]) == (True, False, True)
    assert all(is_current for code, is_current in current.items() if code not in {"now", "over", "next"})


async def test_a_section_with_seats_meetings_and_teacher(
    engine: AsyncEngine, world: PostgresWorld, service: SectionService
) -> None:
    meetings = (Meeting(2, 600, 660, 7), Meeting(0, 540, 600, 5), Meeting(0, 480, 530, 5))
    section_id = await world.add_section(1, meetings=meetings, waitlist_limit=5)
    await world.connection.execute(
        "WITH r AS (INSERT INTO classrooms (code) VALUES ('Room 9') RETURNING id) "
        "UPDATE course_schedules SET classroom_id = r.id FROM r WHERE section_id = $1 AND weekday = 2",
        section_id,
    )
    for _ in range(3):
        await ask(service, enroll(await world.add_student(), section_id))
    catalogue = CatalogueQueries(engine)

    section = await catalogue.section(section_id)

    assert section is not None
    assert (section.capacity, section.enrolled, section.waitlisted, section.available) == (1, 1, 2, 0)
    assert [(one.weekday, one.start_minute, one.room) for one in section.meetings] == [
        (0, 480, None),
        (0, 540, None),
        (2, 600, "Room 9"),
    ]
    assert (section.teacher, section.waitlist_limit, section.is_open) == (None, 5, True)
    assert await catalogue.section(10**12) is None
    assert await catalogue.sections_of_course(section.course_id, None) == [section]
    assert await catalogue.sections_of_course(section.course_id, world.semester_id + 1000) == []
    assert await catalogue.sections_of_course(10**12, None) is None


async def test_enrolments_and_positions_follow_what_happens(
    engine: AsyncEngine, world: PostgresWorld, service: SectionService
) -> None:
    section_id = await world.add_section(1)
    students = [await world.add_student() for _ in range(4)]
    outcomes = [await ask(service, enroll(one, section_id)) for one in students]
    ids = [one.enrollment_id or 0 for one in outcomes]
    queries = EnrollmentQueries(engine)

    assert await queries.positions(ids) == {ids[1]: 1, ids[2]: 2, ids[3]: 3}
    await ask(service, drop(students[0], section_id, ids[0]))
    await until(lambda: queries.positions(ids), {ids[2]: 1, ids[3]: 2})

    dropped, promoted, waiting = [await queries.find(one) for one in ids[:3]]
    assert dropped is not None
    assert promoted is not None
    assert waiting is not None
    assert (dropped.status, promoted.status, waiting.status) == ("dropped", "enrolled", "waitlisted")
    assert (promoted.place, waiting.place, waiting.credits) == (1, 2, 3)
    assert promoted.student_id == students[1]
    assert await queries.held_by(students[0]) == []
    assert [one.id for one in await queries.held_by(students[1])] == [ids[1]]
    assert await queries.find(10**12) is None
    assert await queries.positions([]) == {}


async def test_a_schedule_has_seats_but_not_places(
    engine: AsyncEngine, world: PostgresWorld, service: SectionService
) -> None:
    student_id = await world.add_student()
    first = await world.add_section(1, meetings=monday(9))
    untimed = await world.add_section(1)
    full = await world.add_section(0, meetings=monday(14))
    for section_id in (first, untimed, full):
        await ask(service, enroll(student_id, section_id))
    queries = EnrollmentQueries(engine)

    schedule = {one.section_id: one for one in await queries.schedule(student_id, None)}

    assert set(schedule) == {first, untimed}
    assert [(one.weekday, one.start_minute) for one in schedule[first].meetings] == [(0, 540)]
    assert schedule[untimed].meetings == ()
    assert len(await queries.schedule(student_id, world.semester_id)) == 2
    assert await queries.schedule(student_id, world.semester_id + 1000) == []


async def test_what_a_student_has_is_in_the_order_in_which_people_count(
    engine: AsyncEngine, world: PostgresWorld, service: SectionService
) -> None:
    student_id = await world.add_student()
    codes = ["LS 2", "LS 8A", "LS 12", "LS 101"]
    for code in reversed(codes):
        section_id = await world.add_section(1, course_id=await one_course(world, code))
        await ask(service, enroll(student_id, section_id))
    queries = EnrollmentQueries(engine)

    assert [one.course_code for one in await queries.held_by(student_id)] == codes
    assert [one.course_code for one in await queries.schedule(student_id, None)] == codes


async def test_a_roster_is_by_name_then_by_place(
    engine: AsyncEngine, world: PostgresWorld, service: SectionService
) -> None:
    section_id = await world.add_section(2)
    for name in ("Zoe", "Ada", "Yan", "Bob"):
        student_id = await world.add_student()
        await world.connection.execute(
            "UPDATE users SET name = $2 WHERE id = (SELECT user_id FROM students WHERE id = $1)", student_id, name
        )
        await ask(service, enroll(student_id, section_id))

    roster = await RosterQueries(engine).roster(section_id)

    assert roster is not None
    assert [one.name for one in roster.enrolled] == ["Ada", "Zoe"]
    assert [(one.name, one.place) for one in roster.waitlisted] == [("Yan", 1), ("Bob", 2)]
    assert await RosterQueries(engine).roster(10**12) is None


async def test_the_teacher_of_a_section(engine: AsyncEngine, world: PostgresWorld) -> None:
    taught, untaught = await world.add_section(1), await world.add_section(1)
    user_id = await world.connection.fetchval(
        "INSERT INTO users (email, role, name) VALUES ('tea@example.edu', 'teacher', 'Tea') RETURNING id"
    )
    await world.connection.execute(
        "WITH t AS (INSERT INTO teachers (user_id) VALUES ($1) RETURNING id) "
        "UPDATE course_sections SET teacher_id = t.id FROM t WHERE course_sections.id = $2",
        user_id,
        taught,
    )
    rosters = RosterQueries(engine)

    assert await rosters.teacher_user_id(taught) == user_id
    assert await rosters.teacher_user_id(untaught) is None
    section = await CatalogueQueries(engine).section(taught)
    assert section is not None
    assert section.teacher == "Tea"


async def test_a_database_that_is_away_is_unavailable() -> None:
    engine = make_engine("postgresql+asyncpg://nobody@127.0.0.1:1/nothing")

    with pytest.raises(StoreUnavailableError):
        await CatalogueQueries(engine).section(1)


async def test_a_connection_that_is_cut_is_unavailable_and_the_next_is_well(
    engine: AsyncEngine, world: PostgresWorld
) -> None:
    with pytest.raises(StoreUnavailableError):
        async with reading(engine) as connection:
            pid = (await connection.exec_driver_sql("SELECT pg_backend_pid()")).scalar_one()
            await world.connection.execute("SELECT pg_terminate_backend($1)", pid)
            await asyncio.sleep(0.05)
            await connection.exec_driver_sql("SELECT 1")

    assert await CatalogueQueries(engine).section(10**12) is None


async def test_a_statement_that_takes_too_long_is_busy(database_url: str) -> None:
    engine = make_engine(sqlalchemy_url(database_url), statement_timeout_s=0.1)

    with pytest.raises(StoreBusyError):
        async with reading(engine) as connection:
            await connection.exec_driver_sql("SELECT pg_sleep(5)")
    await engine.dispose()


async def until(read: Any, wanted: object) -> None:
    """Wait until ``read`` gives ``wanted``: a promotion comes with the turn after the drop."""
    async with asyncio.timeout(5):
        while await read() != wanted:
            await asyncio.sleep(0.01)
