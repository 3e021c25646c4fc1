"""``verify`` reports nothing on a healthy database, and every kind of damage on a broken one."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from typing import Any

import asyncpg
import pytest

from allocator.model.catalogue import Meeting
from allocator.model.commands import CloseSection, OpenSection
from allocator.model.delivery import Undecided
from allocator.model.outcomes import Code
from allocator.model.section import SectionState
from allocator.turns.service import SectionService
from cluster.embedded import EmbeddedServices
from persistence.verify import Checked, Finding, verify
from tests.conftest import database
from tests.drain_loop import ask, capacity, drop, enroll, make_service, running, sealed
from tests.sample_campus import ALL_WEEKS, PostgresWorld, monday

pytestmark = pytest.mark.services


@dataclass(frozen=True)
class Campus:
    """What `populate` made: everything that can happen has happened once."""

    world: PostgresWorld
    states: list[SectionState]
    full: int
    quiet: int
    blocked: int
    enrolled: int
    waiting: int
    gone: int
    blocked_student: int


async def populate(world: PostgresWorld) -> Campus:
    """Enrolled, waiting, promoted, dropped, blocked; capacity cut, raised; closed and opened."""
    full = await world.add_section(2, meetings=monday(9))
    quiet = await world.add_section(30, meetings=monday(11))
    clashing = await world.add_section(30, meetings=monday(9))
    blocked = await world.add_section(1, meetings=monday(9, weeks=1))
    a, b, c, d, e, f = [await world.add_student() for _ in range(6)]
    async with running(make_service(world.store())) as service:
        ids = {}
        for student in (a, b, c, d):  # c and d wait
            outcome = await ask(service, enroll(student, full, key=f"client key of {student}"))
            ids[student] = outcome.enrollment_id
        await ask(service, drop(a, full, ids[a]))  # c is promoted
        await ask(service, enroll(a, quiet))
        await ask(service, enroll(b, quiet))
        await ask(service, enroll(e, clashing))
        f_blocked = await ask(service, enroll(f, blocked))
        assert (await ask(service, enroll(e, blocked))).code is Code.REFUSED
        e_clashing = await ask(service, enroll(e, quiet))
        await ask(service, drop(e, quiet, e_clashing.enrollment_id))
        # e waits for a seat beside one that clashes with it: first the place, then the clash.
        await ask(service, drop(e, clashing, (await _enrollment(world, e, clashing))))
        assert (await ask(service, enroll(e, blocked))).code is Code.WAITLISTED
        await ask(service, enroll(e, clashing))
        await ask(service, drop(f, blocked, f_blocked.enrollment_id))  # e is tried and blocked
        await ask(service, enroll(f, full))
        await ask(service, drop(f, full, await _enrollment(world, f, full)))
        await ask(service, capacity(quiet, 1))  # below the two who are in
        await ask(service, CloseSection(quiet, 1))
        await ask(service, OpenSection(quiet, 1))
        states = service.snapshot()
    return Campus(world, states, full, quiet, blocked, c, d, a, e)


async def _enrollment(world: PostgresWorld, student_id: int, section_id: int) -> int:
    found: int = await world.connection.fetchval(
        "SELECT id FROM enrollments WHERE student_id = $1 AND section_id = $2 AND status <> 'dropped'",
        student_id,
        section_id,
    )
    return found


@pytest.fixture(scope="module")
async def campus_template(services: EmbeddedServices, template: str) -> AsyncIterator[tuple[str, Campus]]:
    """A database with a healthy campus, from which each test cuts its own."""
    connection = await asyncpg.connect(services.database_url)
    name = "seatline_campus"
    await connection.execute(f"CREATE DATABASE {name} TEMPLATE {template}")
    world = await PostgresWorld.create(database(services.database_url, name))
    campus = await populate(world)
    await world.close()
    yield name, campus
    await connection.execute(f"DROP DATABASE {name} WITH (FORCE)")
    await connection.close()


@pytest.fixture
async def broken(services: EmbeddedServices, campus_template: tuple[str, Campus]) -> AsyncIterator[tuple[str, Campus]]:
    """A copy of the campus that a test may break: the URL, and what is in it."""
    connection = await asyncpg.connect(services.database_url)
    await connection.execute("DROP DATABASE IF EXISTS seatline_broken WITH (FORCE)")
    await connection.execute(f"CREATE DATABASE seatline_broken TEMPLATE {campus_template[0]}")
    await connection.close()
    yield database(services.database_url, "seatline_broken"), campus_template[1]


async def damage(url: str, *statements: str) -> None:
    """Change what the backstops would not let happen: triggers and foreign keys do not see it, checks are dropped."""
    connection = await asyncpg.connect(url)
    try:
        await connection.execute(
            "SET session_replication_role = replica;"
            "ALTER TABLE section_seats DROP CONSTRAINT section_seats_seats_check;"
            "ALTER TABLE registration_records DROP CONSTRAINT registration_records_credits_check;"
            "ALTER TABLE enrollments DROP CONSTRAINT enrollments_place_check;"
            "ALTER TABLE enrollment_requests DROP CONSTRAINT enrollment_requests_pkey;"
            "DROP INDEX enrollments_active_key"
        )
        for statement in statements:
            done = await connection.execute(statement)
            assert not done.endswith(" 0"), f"nothing was broken by: {statement}"
    finally:
        await connection.close()


def by_invariant(findings: list[Finding]) -> dict[str, Finding]:
    return {finding.invariant: finding for finding in findings}


async def test_a_healthy_campus_has_no_findings(broken: tuple[str, Campus]) -> None:
    url, campus = broken
    checked: list[Checked] = []

    async def memory() -> list[SectionState]:
        return campus.states

    assert await verify(url, memory, progress=checked.append) == []
    assert {one.invariant for one in checked} == {"I1", "I2", "I3", "I4", "I5", "I6", "I7", "I8", "I9", "I10", "I11"}
    kinds = await campus_kinds(url)
    assert len(kinds) == 10, f"the campus should have had every kind of event, not only {kinds}"


async def campus_kinds(url: str) -> set[str]:
    connection = await asyncpg.connect(url)
    try:
        return {row[0] for row in await connection.fetch("SELECT DISTINCT kind FROM enrollment_history")}
    finally:
        await connection.close()


async def test_an_empty_database_has_no_findings(fresh_database_url: str) -> None:
    assert await verify(fresh_database_url, None) == []


Breaking = Callable[[Campus], list[str]]

NEW_ROW = "INSERT INTO enrollments (id, student_id, section_id, status, credits, place) VALUES "


def history_event(section_id: int, kind: str, number: str = "NULL", extra: str = "NULL, NULL, NULL") -> str:
    """One more event at the end of a section's history."""
    return (
        "INSERT INTO enrollment_history (section_id, seq, kind, number, student_id, enrollment_id, place, epoch)"
        f" SELECT {section_id}, max(seq) + 1, '{kind}', {number}, {extra}, max(epoch)"
        f" FROM enrollment_history WHERE section_id = {section_id}"
    )


BREAKINGS: dict[str, tuple[set[str], Breaking]] = {
    "a count is wrong": (
        {"I1", "I9"},
        lambda c: [f"UPDATE section_seats SET enrolled = enrolled + 1 WHERE section_id = {c.full}"],
    ),
    "a waitlist count is wrong": (
        {"I1", "I9"},
        lambda c: [f"UPDATE section_seats SET waitlisted = 0 WHERE section_id = {c.full}"],
    ),
    "a row says more students than seats": (
        {"I1", "I9"},
        lambda c: [f"UPDATE section_seats SET capacity = 1 WHERE section_id = {c.full}"],
    ),
    "a section has enrolments but no seats": (
        {"I1", "I9"},
        lambda c: [f"DELETE FROM section_seats WHERE section_id = {c.full}"],
    ),
    "an acknowledged enrolment is lost": (
        {"I1", "I2", "I3", "I5"},
        lambda c: [f"DELETE FROM enrollments WHERE section_id = {c.full} AND student_id = {c.enrolled}"],
    ),
    "an acknowledged drop did not happen": (
        {"I1", "I2", "I3", "I5"},
        lambda c: [f"UPDATE enrollments SET status = 'enrolled' WHERE section_id = {c.full} AND student_id = {c.gone}"],
    ),
    "an enrolment that nobody asked for": (
        {"I1", "I3", "I5"},
        lambda c: [NEW_ROW + f"(900001, {c.gone}, {c.full}, 'enrolled', 3, NULL)"],
    ),
    "a place was exchanged": (
        {"I3"},
        lambda c: [f"UPDATE enrollments SET place = 7 WHERE section_id = {c.full} AND student_id = {c.waiting}"],
    ),
    "a blocked student is not known to be": (
        {"I3", "I4"},
        lambda c: [
            f"UPDATE enrollments SET blocked_at = NULL, blocked_by = NULL WHERE section_id = {c.blocked}"
            f" AND student_id = {c.blocked_student} AND status = 'waitlisted'"
        ],
    ),
    "a newcomer passed a waiting student": (
        {"I3", "I4", "I9"},
        lambda c: [
            # A seat comes free, and goes to somebody else than the one who waits.
            history_event(c.full, "CapacityChanged", "3"),
            history_event(c.full, "SeatTaken", "3", f"{c.gone}, 900002, NULL"),
            f"UPDATE section_seats SET capacity = 3, seq = seq + 2 WHERE section_id = {c.full}",
        ],
    ),
    "more seats than there were, for a moment": (
        {"I1", "I3", "I4", "I9"},
        lambda c: [history_event(c.full, "SeatTaken", "3", f"{c.gone}, 900003, NULL")],
    ),
    "a place was given twice": (
        {"I4", "I9"},
        lambda c: [history_event(c.full, "StudentWaitlisted", extra=f"{c.gone}, 900004, 1")],
    ),
    "credits are wrong": (
        {"I5", "I9"},
        lambda c: [f"UPDATE registration_records SET credits = credits + 1 WHERE student_id = {c.enrolled}"],
    ),
    "a student is over the limit": (
        {"I5"},
        lambda c: [f"UPDATE registration_records SET credit_limit = 2 WHERE student_id = {c.enrolled}"],
    ),
    "a record knows nothing of a seat": (
        {"I5", "I9"},
        lambda c: [f"UPDATE registration_records SET enrolled = '{{}}' WHERE student_id = {c.enrolled}"],
    ),
    "a record knows nothing of a place": (
        {"I5", "I9"},
        lambda c: [f"UPDATE registration_records SET waitlisted = '{{}}' WHERE student_id = {c.waiting}"],
    ),
    "a record was never raised": (
        {"I9"},
        lambda c: [f"UPDATE registration_records SET version = 0 WHERE student_id = {c.enrolled}"],
    ),
    "a record is missing": (
        {"I5", "I9"},
        lambda c: [f"DELETE FROM registration_records WHERE student_id = {c.enrolled}"],
    ),
    "two sections meet at once": (
        {"I6"},
        lambda c: [f"UPDATE course_schedules SET start_minute = 500, end_minute = 700 WHERE section_id = {c.quiet}"],
    ),
    "two sections are of one component": (
        {"I6"},
        lambda c: [
            "UPDATE course_sections SET course_id = (SELECT course_id FROM course_sections WHERE id ="
            f" {c.full}) WHERE id = {c.quiet}"
        ],
    ),
    "one key, two effects": (
        {"I7"},
        lambda c: [f"INSERT INTO enrollment_requests SELECT * FROM enrollment_requests WHERE student_id = {c.waiting}"],
    ),
    "two keys, one effect": (
        {"I7"},
        lambda c: [
            "INSERT INTO enrollment_requests (student_id, key, request, outcome) SELECT student_id, 'another',"
            f" request, outcome FROM enrollment_requests WHERE student_id = {c.waiting}"
        ],
    ),
    "an epoch fell": (
        {"I8"},
        lambda c: [f"UPDATE enrollment_history SET epoch = 9 WHERE section_id = {c.full} AND seq = 2"],
    ),
    "an epoch is ahead of its section": (
        {"I8"},
        lambda c: [f"UPDATE section_seats SET epoch = 0 WHERE section_id = {c.full}"],
    ),
    "an event is missing": (
        {"I9", "I10"},
        lambda c: [f"DELETE FROM enrollment_history WHERE section_id = {c.full} AND seq = 3"],
    ),
    "the last event is missing": (
        {"I3", "I9", "I10"},
        lambda c: [
            f"DELETE FROM enrollment_history WHERE section_id = {c.full} AND seq ="
            f" (SELECT max(seq) FROM enrollment_history WHERE section_id = {c.full})"
        ],
    ),
    "a section has no history": (
        {"I3", "I9", "I10"},
        lambda c: [f"DELETE FROM enrollment_history WHERE section_id = {c.full}"],
    ),
    "an event is of no known kind": (
        {"I9"},
        lambda c: [f"UPDATE enrollment_history SET kind = 'SeatStolen' WHERE section_id = {c.full} AND seq = 2"],
    ),
    "a section is shut in one place only": (
        {"I9"},
        lambda c: [f"UPDATE section_seats SET is_open = false WHERE section_id = {c.full}"],
    ),
    "the last place is forgotten": (
        {"I9"},
        lambda c: [f"UPDATE section_seats SET last_place = 0 WHERE section_id = {c.full}"],
    ),
    "a message is there twice": (
        {"I10"},
        lambda c: ["INSERT INTO outbox (event_id, topic, payload) SELECT event_id, topic, payload FROM outbox LIMIT 1"],
    ),
    "a message tells of nothing": (
        {"I10"},
        lambda c: ["INSERT INTO outbox (event_id, topic, payload) VALUES ('1:999999', 'enrolled', '{}')"],
    ),
    "a message has no proper id": (
        {"I10"},
        lambda c: ["INSERT INTO outbox (event_id, topic, payload) VALUES ('; DROP TABLE', 'enrolled', '{}')"],
    ),
}


@pytest.mark.parametrize("name", BREAKINGS)
async def test_what_is_broken_is_found(broken: tuple[str, Campus], name: str) -> None:
    url, campus = broken
    expected, breaking = BREAKINGS[name]
    await damage(url, *breaking(campus))
    findings = by_invariant(await verify(url, None))
    assert set(findings) == expected
    for finding in findings.values():
        assert 1 <= len(finding.rows) == min(finding.total, 20)


async def test_a_free_seat_is_a_finding_only_once_all_is_quiet(broken: tuple[str, Campus]) -> None:
    url, campus = broken
    await damage(
        url,
        history_event(campus.full, "CapacityChanged", "3"),
        f"UPDATE section_seats SET capacity = 3, seq = seq + 1 WHERE section_id = {campus.full}",
    )
    assert set(by_invariant(await verify(url, None))) == {"I4"}
    assert await verify(url, None, live=True) == []


async def test_a_closed_section_or_term_owes_no_promotion(broken: tuple[str, Campus]) -> None:
    url, campus = broken
    await damage(
        url,
        history_event(campus.full, "CapacityChanged", "3"),
        f"UPDATE section_seats SET capacity = 3, seq = seq + 1 WHERE section_id = {campus.full}",
        "UPDATE semesters SET registration_closes_at = now() - interval '1 minute'",
    )
    assert await verify(url, None) == []


async def test_only_twenty_rows_are_shown_but_all_are_counted(broken: tuple[str, Campus]) -> None:
    url, _ = broken
    await damage(
        url,
        "INSERT INTO outbox (event_id, topic, payload)"
        " SELECT '9:' || n, 'enrolled', '{}' FROM generate_series(1, 57) n",
    )
    (finding,) = await verify(url, None)
    assert (finding.invariant, finding.total, len(finding.rows)) == ("I10", 57, 20)


def memory_of(states: list[SectionState]) -> Callable[[], Awaitable[list[SectionState]]]:
    async def memory() -> list[SectionState]:
        return states

    return memory


@pytest.mark.parametrize(
    "change",
    [
        {"enrolled": 17},
        {"seq": 1},
        {"waiting": ()},
        {"capacity": 99},
        {"is_open": False},
        {"last_place": 9},
        {"epoch": 99},
    ],
)
async def test_memory_that_differs_is_found(broken: tuple[str, Campus], change: dict[str, Any]) -> None:
    url, campus = broken
    states = [state._replace(**change) if state.section_id == campus.full else state for state in campus.states]
    (finding,) = await verify(url, memory_of(states))
    assert (finding.invariant, finding.total) == ("I11", 1)
    assert finding.rows[0]["section_id"] == campus.full


async def test_what_another_actor_owns_by_now_is_not_compared(broken: tuple[str, Campus]) -> None:
    url, campus = broken
    old = [state._replace(epoch=state.epoch - 1, seq=1, enrolled=0) for state in campus.states]
    checked: list[Checked] = []
    assert await verify(url, memory_of(old), progress=checked.append) == []
    assert checked[-1].note is not None
    assert checked[-1].note.startswith("0 sections compared")


async def test_memory_must_know_who_is_blocked(broken: tuple[str, Campus]) -> None:
    url, campus = broken
    states = [
        state._replace(waiting=tuple(one._replace(blocked_at=None) for one in state.waiting)) for state in campus.states
    ]
    assert states != campus.states
    assert set(by_invariant(await verify(url, memory_of(states)))) == {"I11"}


@pytest.mark.parametrize("seed", range(6))
async def test_whatever_students_do_leaves_nothing_to_find(fresh_database_url: str, seed: int) -> None:
    """A few hundred commands at random, many at once, on few seats."""
    rng = random.Random(seed)
    world = await PostgresWorld.create(fresh_database_url)
    slots = [(Meeting(day, 540, 600, ALL_WEEKS),) for day in range(3)]
    sections = [
        await world.add_section(rng.randint(0, 3), meetings=rng.choice(slots), credit_count=rng.choice((2, 4)))
        for _ in range(6)
    ]
    students = [await world.add_student(credit_limit=8) for _ in range(12)]
    async with running(make_service(world.store(), batch_max=16)) as service:
        for _ in range(12):
            commands: list[Any] = []
            held = await world.connection.fetch(
                "SELECT student_id, section_id, id FROM enrollments WHERE status <> 'dropped'"
            )
            commands += [drop(*row) for row in rng.sample(held, min(5, len(held)))]
            commands += [enroll(rng.choice(students), rng.choice(sections)) for _ in range(20)]
            commands += [capacity(rng.choice(sections), rng.randint(0, 4))]
            commands += [rng.choice((CloseSection, OpenSection))(rng.choice(sections), 1)]
            rng.shuffle(commands)
            replies = await service.submit([(sealed(command), 10.0) for command in commands])
            assert {reply.code for reply in replies}.isdisjoint({Undecided.UNAVAILABLE, Undecided.UNKNOWN})
            assert await verify(fresh_database_url, None, live=True) == []
        await _until_quiet(service)
        assert await verify(fresh_database_url, memory_of(service.snapshot())) == [], f"seed {seed}"
    await world.close()


async def _until_quiet(service: SectionService) -> None:
    """Until two looks in a row see the same."""
    before: list[SectionState] = []
    while before != (now := service.snapshot()):
        before = now
        await asyncio.sleep(0.3)
