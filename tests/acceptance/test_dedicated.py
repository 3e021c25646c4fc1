"""Dedicated placement: every section a process of its own, started on demand and stopped when idle."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator
from pathlib import Path

import asyncpg
import psutil
import pytest

from cluster.embedded import EmbeddedServices
from tests.acceptance.seatline import Seatline
from tests.acceptance.test_registration import students_of, verified
from tests.conftest import database
from tests.sample_campus import PostgresWorld

pytestmark = pytest.mark.cluster


@pytest.fixture
async def dedicated(services: EmbeddedServices, short_tmp: Path) -> AsyncIterator[Seatline]:
    """A second Seatline, of dedicated placement, whose actors leave after two idle seconds."""
    connection = await asyncpg.connect(services.database_url)
    await connection.execute("CREATE DATABASE seatline_dedicated")
    await connection.close()
    home = short_tmp / "dedicated"
    home.mkdir()
    url = database(services.database_url, "seatline_dedicated")
    running = await Seatline.start(
        home, url, f"{services.redis_url}?db=1", SEATLINE_PLACEMENT="dedicated", SEATLINE_DEDICATED_IDLE_S="2"
    )
    yield running
    if running.process.returncode is None:
        await running.stop()


async def test_sections_come_go_die_and_leave_nothing_behind(dedicated: Seatline) -> None:
    world = await PostgresWorld.create(dedicated.database_url)
    sections = [await world.add_section(3) for _ in range(2)]
    students = await students_of(world, 8)
    async with dedicated.client() as client:
        seats = await asyncio.gather(
            *(client.enroll(one, sections[n % 2], patient=True) for n, one in enumerate(students))
        )
        assert sorted(answer.body["status"] for answer in seats) == ["enrolled"] * 6 + ["waitlisted"] * 2
        made_up = await asyncio.gather(*(client.enroll(students[0], 900_000 + n) for n in range(10)))
        assert {answer.status for answer in made_up} == {404}
        pids = dedicated.section_actor_pids()
        assert len(pids) == 2  # none was started for what is no section

        os.kill(pids[0], signal.SIGKILL)
        drops = await asyncio.gather(
            *(client.drop(one, answer.body["id"], patient=True) for one, answer in zip(students, seats, strict=True))
        )
        assert {answer.status for answer in drops} == {200}
        await verified(dedicated)

        async with asyncio.timeout(60):
            while dedicated.section_actor_pids():
                await asyncio.sleep(0.2)
        again = await asyncio.gather(*(client.enroll(students[0], one, patient=True) for one in sections))
        assert {answer.status for answer in again} == {201}
        await verified(dedicated)
    family = psutil.Process(dedicated.process.pid).children(recursive=True)
    assert await dedicated.stop() == 0
    _gone, alive = psutil.wait_procs(family, timeout=10)
    assert alive == []
    await world.close()
