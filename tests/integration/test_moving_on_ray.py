"""Handover of sections between real Ray actors, on real Postgres and Valkey: no request fails."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from pathlib import Path

from tests.sample_campus import PostgresWorld


async def test_sections_go_to_and_fro_under_load_and_every_request_is_served(
    fresh_database_url: str, redis_url: str, short_tmp: Path
) -> None:
    world = await PostgresWorld.create(fresh_database_url)
    sections = [await world.add_section(10) for _ in range(30)]
    students = [await world.add_student(credit_limit=1000) for _ in range(25)]
    await world.close()
    environment = {
        **os.environ,
        "DATABASE_URL": fresh_database_url,
        "REDIS_URL": redis_url,
        "SEATLINE_HOME": str(short_tmp / "moving"),
        "LOG_LEVEL": "ERROR",
    }
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "tests.integration.moving_on_ray", json.dumps(sections), json.dumps(students),
        env=environment, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    out, error = await process.communicate()
    assert process.returncode == 0, error.decode()[-4000:]
    found = json.loads(out.splitlines()[-1])
    assert found["findings"] == []
    assert found["codes"] == {"enrolled": 10 * len(sections), "waitlisted": 15 * len(sections)}
    assert found["moved"] > len(sections), "most of them went from actor to actor more than once"
    assert found["active"] == len(sections)
