"""Processes killed under load: they come back, and nothing acknowledged is lost or doubled."""

from __future__ import annotations

import asyncio
import os
import signal
import time

import aiohttp
import pytest

from cluster.embedded import EmbeddedServices
from tests.acceptance.seatline import Answer, Client, Seatline
from tests.acceptance.test_registration import students_of, verified
from tests.sample_campus import PostgresWorld

pytestmark = pytest.mark.cluster

KILLS = int(os.environ.get("SEATLINE_TEST_KILLS", "3"))


class Load:
    """Students who enrol one after the other in random sections; every acknowledgement is written down."""

    def __init__(self, client: Client, sections: list[int], students: list[int]) -> None:
        self._client = client
        self._sections = sections
        self._students = iter(students)
        self.acknowledged: dict[int, tuple[int, int]] = {}
        self.refused: list[Answer] = []
        self.served_at: list[float] = []
        self.stopping = False

    async def run(self, workers: int) -> None:
        """Send until told to stop."""
        await asyncio.gather(*(self._work(n) for n in range(workers)))

    async def _work(self, n: int) -> None:
        while not self.stopping:
            student_id = next(self._students)
            section_id = self._sections[(student_id + n) % len(self._sections)]
            answer = await self._client.enroll(student_id, section_id, patient=True)
            if answer.status == 201:
                self.acknowledged[answer.body["id"]] = (student_id, section_id)
                self.served_at.append(time.monotonic())
            else:
                self.refused.append(answer)


async def check(load: Load, campus: PostgresWorld, sections: list[int]) -> None:
    """Postgres holds exactly what was acknowledged."""
    rows = await campus.connection.fetch(
        "SELECT id, student_id, section_id FROM enrollments WHERE section_id = ANY($1::bigint[])", sections
    )
    assert load.refused == []
    assert {row[0]: (row[1], row[2]) for row in rows} == load.acknowledged


async def test_kill_9_of_the_section_actor_under_load(
    seatline: Seatline, client: Client, campus: PostgresWorld
) -> None:
    sections = [await campus.add_section(100_000) for _ in range(20)]
    load = Load(client, sections, await students_of(campus, 20_000))
    running = asyncio.create_task(load.run(32))
    pauses = []
    for _ in range(KILLS):
        await asyncio.sleep(1.0)
        (pid,) = seatline.section_actor_pids()
        os.kill(pid, signal.SIGKILL)
        killed_at, before = time.monotonic(), len(load.served_at)
        async with asyncio.timeout(30):
            while len(load.served_at) <= before + 32 or load.served_at[-1] < killed_at + 0.5:
                await asyncio.sleep(0.02)
        pauses.append(max(b - a for a, b in zip(load.served_at[before - 1 :], load.served_at[before:], strict=False)))
    load.stopping = True
    await running
    print(f"{KILLS} kills, {len(load.acknowledged)} enrolments, pauses of", [f"{one:.2f} s" for one in pauses])
    await check(load, campus, sections)
    await verified(seatline)


async def test_postgres_dies_and_comes_back_under_load(
    seatline: Seatline, services: EmbeddedServices, client: Client, campus: PostgresWorld
) -> None:
    sections = [await campus.add_section(100_000) for _ in range(20)]
    load = Load(client, sections, await students_of(campus, 20_000))
    running = asyncio.create_task(load.run(32))
    await asyncio.sleep(1.0)
    os.kill(services.pids["postgres"], signal.SIGKILL)
    killed, before = time.monotonic(), len(load.served_at)
    async with asyncio.timeout(60):
        while len(load.served_at) <= before or load.served_at[-1] < killed + 2.0:
            await asyncio.sleep(0.05)
    load.stopping = True
    await running
    campus.connection = await reconnected(campus)
    await check(load, campus, sections)
    await verified(seatline)


async def reconnected(campus: PostgresWorld) -> object:
    """The world's own connection died with the server."""
    import asyncpg

    return await asyncpg.connect(campus.database_url)


async def test_with_postgres_frozen_every_request_is_answered_by_its_deadline(
    services: EmbeddedServices, client: Client, campus: PostgresWorld, seatline: Seatline
) -> None:
    section_id = await campus.add_section(100)
    students = await students_of(campus, 20)
    assert (await client.enroll(students[0], section_id)).status == 201
    frozen = frozen_processes(services.pids["postgres"])
    for pid in frozen:
        os.kill(pid, signal.SIGSTOP)
    try:
        answers = await asyncio.gather(*(client.enroll(one, section_id) for one in students[1:]))
    finally:
        for pid in frozen:
            os.kill(pid, signal.SIGCONT)
    assert {answer.status for answer in answers} == {503}
    assert all("Retry-After" in answer.headers for answer in answers)
    assert {answer.body["code"] for answer in answers} <= {"unavailable", "outcome_unknown", "overloaded"}
    again = await asyncio.gather(*(client.enroll(one, section_id, patient=True) for one in students[1:]))
    assert {answer.status for answer in again} <= {201, 409}  # 409: an unknown outcome that was one
    async with asyncio.timeout(10):
        while (await campus.seats(section_id)).enrolled != len(students):
            await asyncio.sleep(0.05)
    await verified(seatline)


async def test_an_api_server_that_is_killed_comes_back(seatline: Seatline, client: Client) -> None:
    (pid,) = seatline.api_server_pids()
    os.kill(pid, signal.SIGKILL)
    async with asyncio.timeout(60):
        while seatline.api_server_pids() in ([], [pid]) or not await is_healthy(client):
            await asyncio.sleep(0.1)


async def is_healthy(client: Client) -> bool:
    """Whether somebody answers for the API."""
    try:
        return (await client.request("GET", "/health")).status == 200
    except aiohttp.ClientError:
        return False


def frozen_processes(postmaster: int) -> list[int]:
    """The postmaster and its children."""
    import psutil

    return [postmaster, *(child.pid for child in psutil.Process(postmaster).children(recursive=True))]


async def test_redis_dies_and_enrolment_goes_on(
    services: EmbeddedServices, client: Client, campus: PostgresWorld, seatline: Seatline
) -> None:
    section_id = await campus.add_section(100)
    fresh = await campus.add_section(100)
    students = await students_of(campus, 40)
    assert (await client.enroll(students[0], section_id)).status == 201
    os.kill(services.pids["valkey"], signal.SIGSTOP)
    try:
        answers = await asyncio.gather(*(client.enroll(one, section_id) for one in students[1:20]))
        answers += await asyncio.gather(*(client.enroll(one, fresh) for one in students[20:]))
        ready = await client.request("GET", "/ready")
    finally:
        os.kill(services.pids["valkey"], signal.SIGCONT)
    assert {answer.status for answer in answers} == {201}
    assert (ready.status, ready.body["status"]) == (200, "degraded")
    os.kill(services.pids["valkey"], signal.SIGKILL)
    assert (await client.drop(students[0], (await my_ids(client, students[0]))[0])).status == 200
    await verified(seatline)


async def my_ids(client: Client, student_id: int) -> list[int]:
    """Ids of a student's enrolments."""
    mine = await client.request("GET", "/api/enrollments/my", client.token(student_id))
    return [item["id"] for item in mine.body["items"]]
