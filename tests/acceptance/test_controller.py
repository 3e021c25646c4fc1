"""The controller of a running Seatline: it survives its own death, and moves hot sections."""

from __future__ import annotations

import asyncio
import os
import re
import signal

import psutil
import pytest

from tests.acceptance.seatline import Client, Seatline
from tests.acceptance.test_faults import Load, check
from tests.acceptance.test_registration import students_of, verified
from tests.sample_campus import PostgresWorld

pytestmark = pytest.mark.cluster

PATIENCE_S = 60.0


async def figures(client: Client) -> dict[str, float]:
    """Of the controller, as `/metrics` has them; none while the controller does not answer."""
    text = (await client.request("GET", "/metrics")).body.decode()
    found = re.findall(r'^seatline_actor_(\w+)\{actor="controller"\} (\S+)$', text, re.MULTILINE)
    return {name: float(value) for name, value in found}


async def figure(client: Client, name: str) -> float | None:
    """One of them."""
    return (await figures(client)).get(name)


def controller_pids(seatline: Seatline) -> list[int]:
    """Processes of the controller."""
    children = psutil.Process(seatline.process.pid).children(recursive=True)
    return [one.pid for one in children if one.name().startswith("ray::Controll")]


async def test_the_controller_is_killed_and_nobody_notices(
    seatline: Seatline, client: Client, campus: PostgresWorld
) -> None:
    sections = [await campus.add_section(100_000) for _ in range(20)]
    load = Load(client, sections, await students_of(campus, 20_000))
    version = await figure(client, "view_version")
    assert version is not None
    running = asyncio.create_task(load.run(16))
    (pid,) = controller_pids(seatline)
    os.kill(pid, signal.SIGKILL)
    async with asyncio.timeout(PATIENCE_S):
        while pid in controller_pids(seatline):
            await asyncio.sleep(0.01)
        before = len(load.served_at)
        while not controller_pids(seatline):
            await asyncio.sleep(0.01)
        assert len(load.served_at) > before, "serving waited for the controller"
        while (await figure(client, "view_version") or 0) <= version:
            await asyncio.sleep(0.1)
    load.stopping = True
    await running
    assert load.refused == []
    await check(load, campus, sections)
    await verified(seatline)


async def test_a_hot_section_gets_an_actor_of_its_own_and_goes_back(
    seatline: Seatline, client: Client, campus: PostgresWorld
) -> None:
    hot, *others = [await campus.add_section(100_000) for _ in range(5)]
    (pid,) = seatline.section_actor_pids()
    load = Load(client, [hot, hot, hot, hot, *others], await students_of(campus, 60_000))
    running = asyncio.create_task(load.run(32))
    try:
        async with asyncio.timeout(PATIENCE_S):
            while len(seatline.section_actor_pids()) != 2 or await owner_of(campus, hot) != f"section-{hot}":
                await asyncio.sleep(0.1)
    finally:
        load.stopping = True
        await running
    assert await figure(client, "pins") == 1
    async with asyncio.timeout(PATIENCE_S):
        while seatline.section_actor_pids() != [pid]:
            await asyncio.sleep(0.1)
    assert await figure(client, "pins") == 0
    again = await students_of(campus, 1)
    assert (await client.enroll(again[0], hot)).status == 201
    assert await owner_of(campus, hot) == "sections-local-0"
    load.acknowledged.update({row[0]: (row[1], row[2]) for row in await rows_of(campus, again[0])})
    await check(load, campus, [hot, *others])
    await verified(seatline)


async def owner_of(campus: PostgresWorld, section_id: int) -> str:
    """The actor that activated the section last."""
    owner = await campus.connection.fetchval("SELECT owner FROM section_seats WHERE section_id = $1", section_id)
    return str(owner).partition("|")[0]


async def rows_of(campus: PostgresWorld, student_id: int) -> list[tuple[int, int, int]]:
    """Enrolments of a student."""
    rows = await campus.connection.fetch(
        "SELECT id, student_id, section_id FROM enrollments WHERE student_id = $1", student_id
    )
    return [tuple(row) for row in rows]
