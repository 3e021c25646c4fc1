"""A registration day over HTTP on a whole Seatline: rush, promotions, floods, and the invariants afterwards."""

from __future__ import annotations

import asyncio
import os

import pytest

from tests.acceptance.seatline import Client, Seatline, add_admin
from tests.sample_campus import PostgresWorld, monday

pytestmark = pytest.mark.cluster

FLOODS = int(os.environ.get("SEATLINE_TEST_FLOODS", "20"))


async def students_of(campus: PostgresWorld, count: int, credit_limit: int = 18) -> list[int]:
    """New students, quickly."""
    rows = await campus.connection.fetch(
        """
        WITH u AS (INSERT INTO users (email, role)
                   SELECT gen_random_uuid()::text, 'student' FROM generate_series(1, $1) RETURNING id),
             s AS (INSERT INTO students (user_id, student_number) SELECT id, gen_random_uuid()::text FROM u
                   RETURNING id)
        SELECT id FROM s
        """,
        count,
    )
    ids = [row[0] for row in rows]
    await campus.connection.execute(
        "INSERT INTO registration_records (student_id, semester_id, credit_limit) SELECT unnest($1::bigint[]), $2, $3",
        ids,
        campus.semester_id,
        credit_limit,
    )
    return ids


async def verified(seatline: Seatline) -> None:
    """``seatline verify`` finds nothing."""
    code, findings, err = await seatline.run("verify", "--json")
    assert code == 0, f"{findings}\n{err}"


async def test_a_thousand_students_and_thirty_seats(seatline: Seatline, client: Client, campus: PostgresWorld) -> None:
    section_id = await campus.add_section(30)
    students = await students_of(campus, 1000)
    answers = await asyncio.gather(*(client.enroll(one, section_id, patient=True) for one in students))
    assert {answer.status for answer in answers} == {201}
    enrolled = [(s, a.body["id"]) for s, a in zip(students, answers, strict=True) if a.body["status"] == "enrolled"]
    waiting = {a.body["place"]: s for s, a in zip(students, answers, strict=True) if a.body["status"] == "waitlisted"}
    assert len(enrolled) == 30
    assert sorted(waiting) == list(range(1, 971))

    drops = await asyncio.gather(*(client.drop(student, one) for student, one in enrolled[:10]))
    assert {(d.status, d.body["status"]) for d in drops} == {(200, "dropped")}
    await until_enrolled(campus, section_id, [waiting[place] for place in range(1, 11)])

    admin = client.staff_token(await add_admin(seatline.database_url))
    raised = await client.request("PATCH", f"/api/admin/sections/{section_id}", admin, {"capacity": 35})
    assert (raised.status, raised.body["capacity"]) == (200, 35)
    await until_enrolled(campus, section_id, [waiting[place] for place in range(1, 16)])

    promoted = await campus.connection.fetch(
        "SELECT place FROM enrollment_history WHERE section_id = $1 AND kind = 'StudentPromoted' ORDER BY seq",
        section_id,
    )
    assert [row[0] for row in promoted] == list(range(1, 16))
    section = (await client.request("GET", f"/api/sections/{section_id}")).body
    assert (section["enrolled"], section["available"], section["waitlisted"]) == (35, 0, 955)
    await verified(seatline)


async def until_enrolled(campus: PostgresWorld, section_id: int, students: list[int]) -> None:
    """Wait until these are enrolled; exactly these of the waiting ones, since the last of them is the last in order."""
    async with asyncio.timeout(10):
        while True:
            statuses = await campus.statuses(section_id)
            if all(statuses[one] == "enrolled" for one in students):
                return
            await asyncio.sleep(0.02)


async def test_one_student_in_parallel_never_gets_an_illegal_set(
    seatline: Seatline, client: Client, campus: PostgresWorld
) -> None:
    await flood(client, campus, FLOODS)
    await verified(seatline)


async def flood(client: Client, campus: PostgresWorld, student_count: int) -> None:
    """Students who each send requests for 20 sections at once, and get a legal set of them and no more."""
    # 20 sections of 4 credits at 10 times; the limit lets a student hold 3 of them.
    sections = [await campus.add_section(500, credit_count=4, meetings=monday(8 + n // 2)) for n in range(20)]
    students = await students_of(campus, student_count, credit_limit=14)

    async def flood_of(student_id: int) -> None:
        answers = await asyncio.gather(*(client.enroll(student_id, one, patient=True) for one in sections))
        held = [s for s, a in zip(sections, answers, strict=True) if a.status == 201]
        assert len(held) == 3
        assert len({sections.index(one) // 2 for one in held}) == 3
        refusals = [answer.body["code"] for answer in answers if answer.status != 201]
        assert len(refusals) == 17
        assert set(refusals) <= {"schedule_conflict", "credit_limit"}
        mine = await client.request("GET", "/api/enrollments/my", client.token(student_id))
        assert sorted(item["section_id"] for item in mine.body["items"]) == sorted(held)

    await asyncio.gather(*(flood_of(one) for one in students))


async def test_the_same_key_is_answered_the_same_over_http(client: Client, campus: PostgresWorld) -> None:
    section_id, other = await campus.add_section(5), await campus.add_section(5)
    (student_id,) = await students_of(campus, 1)
    token, key = client.token(student_id), {"Idempotency-Key": "once-and-for-all"}
    first, second = await asyncio.gather(
        *(client.request("POST", "/api/enrollments", token, {"section_id": section_id}, **key) for _ in range(2))
    )
    assert first.status == second.status == 201
    assert first.body == second.body
    assert ("Idempotent-Replayed" in first.headers) != ("Idempotent-Replayed" in second.headers)
    reused = await client.request("POST", "/api/enrollments", token, {"section_id": other}, **key)
    assert (reused.status, reused.body["code"]) == (422, "key_reused")


async def test_a_student_reads_their_own_write(client: Client, campus: PostgresWorld) -> None:
    section_id = await campus.add_section(5)
    (student_id,) = await students_of(campus, 1)
    token = client.token(student_id)
    for _ in range(5):
        taken = await client.enroll(student_id, section_id)
        mine = await client.request("GET", "/api/enrollments/my", token)
        assert [item["id"] for item in mine.body["items"]] == [taken.body["id"]]
        assert (await client.request("GET", f"/api/sections/{section_id}")).body["enrolled"] == 1
        await client.drop(student_id, taken.body["id"])
        assert (await client.request("GET", "/api/enrollments/my", token)).body["items"] == []
        assert (await client.request("GET", f"/api/sections/{section_id}")).body["enrolled"] == 0


async def test_a_second_seatline_on_the_same_home_says_who_runs_there(seatline: Seatline) -> None:
    code, _, err = await seatline.run("up", "--port", "0", "--no-seed")
    assert code == 4
    assert str(seatline.process.pid) in err
    assert seatline.url in err.replace("\n", "")
