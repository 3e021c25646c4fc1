"""Every peer decides as Seatline does, one request at a time and in races."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass

import pytest

from api.signin.tokens import AccessTokens
from bench.contestants.contestant import SEATLINE, Contestant, start_peer, start_seatline
from bench.contestants.sandbox import Sandbox
from bench.peers.registry import PEERS
from persistence.verify import verify
from tests.acceptance.seatline import Answer, Client
from tests.sample_campus import PostgresWorld, monday

DECIDING = [name for name, peer in PEERS.items() if peer.decides]
RIVALS = 40
SEATS = 5


@dataclass
class Campus:
    """Sections by what is special about them, and students."""

    world: PostgresWorld
    sections: dict[str, int]
    students: list[int]
    held_back: int

    @classmethod
    async def create(cls, database_url: str) -> Campus:
        """A campus that nobody has registered for."""
        world = await PostgresWorld.create(database_url)
        course, required = await world.add_course(), await world.add_course()
        sections = {
            "two seats": await world.add_section(2, meetings=monday(9), course_id=course),
            "same course": await world.add_section(9, course_id=course),
            "same time": await world.add_section(9, meetings=monday(9)),
            "many credits": await world.add_section(9, credit_count=16),
            "both": await world.add_section(9, credit_count=17, meetings=monday(9)),
            "no waiting": await world.add_section(0, waitlist_limit=0),
            "for the advanced": await world.add_section(9, course_id=required),
            "race": await world.add_section(SEATS),
            **{f"free {number}": await world.add_section(99, credit_count=4) for number in range(6)},
        }
        await world.connection.execute(
            "INSERT INTO prerequisites (course_id, required_course_id, min_grade) VALUES ($1, $2, 20)", required, course
        )
        students = [await world.add_student() for _ in range(RIVALS)]
        return cls(world, sections, students, await world.add_student(holds=("fee",)))


@contextlib.asynccontextmanager
async def running(name: str, sandbox: Sandbox, campus: Campus) -> AsyncIterator[Contestant]:
    """Seatline or a peer, on the campus."""
    url = campus.world.database_url
    starting = (
        start_seatline(sandbox, url)
        if name == SEATLINE
        else start_peer(sandbox, PEERS[name], url, list(campus.sections.values()))
    )
    async with starting as contestant:
        yield contestant


@pytest.mark.services
@pytest.mark.timeout(240)
@pytest.mark.parametrize("name", [SEATLINE, *DECIDING])
async def test_it_decides_as_it_should(name: str, sandbox: Sandbox, own_database: str) -> None:
    campus = await Campus.create(own_database)
    try:
        async with running(name, sandbox, campus) as contestant:
            tokens = AccessTokens(sandbox.jwt_secret, 3600)
            async with Client(f"http://127.0.0.1:{contestant.target.port}", tokens) as client:
                await check_one_by_one(client, campus)
                await check_a_race(client, campus)
                await check_one_student_at_once(client, campus)
            await contestant.settle()
            assert contestant.cpu_s()["processes"] > 0
        await check_tables(campus, own_database, keeps_counts=contestant.keeps_counts)
    finally:
        await campus.world.close()


async def check_one_by_one(client: Client, campus: Campus) -> None:
    """Seats, places, and every refusal."""
    sections = campus.sections
    first, second, third, fourth, fifth = campus.students[:5]

    async def enroll(student_id: int, section: str) -> Answer:
        return await client.enroll(student_id, sections[section])

    taken = await enroll(first, "two seats")
    assert (taken.status, taken.body["status"], taken.body["place"]) == (201, "enrolled", None)
    for section, codes in {
        "two seats": ["already_enrolled"],
        "same course": ["already_enrolled"],
        "same time": ["schedule_conflict"],
        "many credits": ["credit_limit"],
        "both": ["schedule_conflict", "credit_limit"],
        "for the advanced": ["prerequisite_missing"],
        "no waiting": ["waitlist_full"],
    }.items():
        assert_refused(await enroll(first, section), codes)
    assert_refused(await enroll(campus.held_back, "same time"), ["hold"])
    assert (await client.enroll(first, 999_999)).status == 404
    assert (await client.request("POST", "/api/enrollments", None, {"section_id": 1})).status == 401

    assert (await enroll(second, "two seats")).body["status"] == "enrolled"
    for position, student_id in enumerate((third, fourth), start=1):
        waiting = (await enroll(student_id, "two seats")).body
        assert (waiting["status"], waiting["place"], waiting["waitlist_position"]) == ("waitlisted", position, position)
    assert_refused(await enroll(fourth, "two seats"), ["already_waitlisted"])
    seat_only = {"section_id": sections["two seats"], "join_waitlist": False}
    full = await client.request("POST", "/api/enrollments", client.token(fifth), seat_only)
    assert_refused(full, ["section_full"])
    await check_keys(client, fifth, sections)


async def check_keys(client: Client, student_id: int, sections: dict[str, int]) -> None:
    """One key, one effect, one answer; refusals too."""
    token, body = client.token(student_id), {"section_id": sections["same time"]}
    key = {"Idempotency-Key": "a-key-of-mine"}
    answers = [await client.request("POST", "/api/enrollments", token, body, **key) for _ in range(2)]
    assert [answer.status for answer in answers] == [201, 201]
    assert answers[0].body == answers[1].body
    other = {"section_id": sections["many credits"]}
    reused = await client.request("POST", "/api/enrollments", token, other, **key)
    assert (reused.status, reused.body["code"]) == (422, "key_reused")
    refusal = {"Idempotency-Key": "another-key"}
    for _ in range(2):
        assert_refused(await client.request("POST", "/api/enrollments", token, body, **refusal), ["already_enrolled"])


async def check_a_race(client: Client, campus: Campus) -> None:
    """Many students, few seats: no seat twice, no place twice."""
    section = campus.sections["race"]
    answers = await asyncio.gather(*(client.enroll(one, section, patient=True) for one in campus.students))
    assert {answer.status for answer in answers} == {201}
    statuses = [answer.body["status"] for answer in answers]
    assert (statuses.count("enrolled"), statuses.count("waitlisted")) == (SEATS, RIVALS - SEATS)
    places = sorted(answer.body["place"] for answer in answers if answer.body["status"] == "waitlisted")
    assert places == list(range(1, RIVALS - SEATS + 1))
    assert len({answer.body["id"] for answer in answers}) == RIVALS


async def check_one_student_at_once(client: Client, campus: Campus) -> None:
    """One student sends six sections of four credits at once and may hold eighteen credits."""
    student = campus.students[-1]
    wanted = [section for name, section in campus.sections.items() if name.startswith("free")]
    answers = await asyncio.gather(*(client.enroll(student, section, patient=True) for section in wanted))
    held = [answer.body["status"] for answer in answers if answer.status == 201]
    credits_held, _, _ = await campus.world.record(student)
    assert 3 <= len(held) <= 4
    assert credits_held <= 18
    assert {answer.body["code"] for answer in answers if answer.status != 201} == {"credit_limit"}


async def check_tables(campus: Campus, database_url: str, *, keeps_counts: bool) -> None:
    """What stands in Postgres in the end."""
    oversold = await campus.world.connection.fetch(
        """
        SELECT s.section_id FROM section_seats s JOIN enrollments e USING (section_id) WHERE e.status = 'enrolled'
         GROUP BY s.section_id, s.capacity HAVING count(*) > s.capacity
        """
    )
    assert oversold == []
    statuses = await campus.world.statuses(campus.sections["race"])
    assert sorted(statuses.values()) == ["enrolled"] * SEATS + ["waitlisted"] * (RIVALS - SEATS)
    if keeps_counts:
        assert await verify(database_url) == []


def assert_refused(answer: Answer, codes: list[str]) -> None:
    """All reasons, in the order in which Seatline gives them."""
    assert answer.status == 409, answer
    assert answer.body["code"] == codes[0]
    assert [reason["code"] for reason in answer.body["reasons"]] == codes
