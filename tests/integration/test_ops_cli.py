"""The commands of operators: their output when nothing runs, and the report of a section."""

from __future__ import annotations

from pathlib import Path

import pytest
from redis.asyncio import Redis

from cluster.config.runfile import RunFile, read_run_file, write_run_file
from tests.integration.test_checks_cli import seatline
from tests.sample_campus import PostgresWorld

pytestmark = pytest.mark.services


@pytest.mark.parametrize(
    "command", [("status",), ("drain", "--this-node"), ("drain", "10.0.0.1"), ("rebalance",), ("down",)]
)
async def test_without_a_seatline_they_say_how_to_get_one(tmp_path: Path, command: tuple[str, ...]) -> None:
    ran = await seatline(tmp_path, *command)
    assert ran.code == 4
    assert "seatline up" in ran.err
    assert "RAY_ADDRESS" in ran.err


async def test_a_detached_seatline_that_is_gone_is_forgotten(tmp_path: Path) -> None:
    write_run_file(tmp_path, RunFile(None, "http://127.0.0.1:1", "127.0.0.1:1", None))
    assert read_run_file(tmp_path) is not None, "nobody can know yet"
    ran = await seatline(tmp_path, "down")
    assert ran.code == 4
    assert read_run_file(tmp_path) is None


@pytest.mark.parametrize("arguments", [(), ("10.0.0.1", "--this-node")])
async def test_exactly_one_node_must_be_named(tmp_path: Path, arguments: tuple[str, ...]) -> None:
    ran = await seatline(tmp_path, "drain", *arguments)
    assert ran.code == 2


async def test_a_section_with_its_owner_lease_and_waitlist(database_url: str, redis_url: str, tmp_path: Path) -> None:
    world = await PostgresWorld.create(database_url)
    section_id = await world.add_section(1)
    seated, *waiting = [await world.add_student() for _ in range(3)]
    await world.connection.execute(
        "UPDATE section_seats SET enrolled = 1, waitlisted = 2, epoch = 7, owner = 'sections-a-0|abc' "
        "WHERE section_id = $1",
        section_id,
    )
    rows = [(1, seated, "enrolled", None, None), (2, waiting[0], "waitlisted", 5, ["credit_limit"])]
    for enrollment_id, student_id, status, place, blocked in [*rows, (3, waiting[1], "waitlisted", 4, None)]:
        await world.connection.execute(
            "INSERT INTO enrollments (id, student_id, section_id, status, credits, place, blocked_by) "
            "VALUES ($1, $2, $3, $4, 0, $5, $6)",
            *(enrollment_id, student_id, section_id, status, place, blocked),
        )
    async with Redis.from_url(redis_url) as redis:
        await redis.set(f"lease:section:{section_id}", b"sections-a-0|abc")
    environment = {"DATABASE_URL": database_url, "REDIS_URL": redis_url}

    ran = await seatline(tmp_path, "section", "show", str(section_id), "--json", **environment)
    assert ran.code == 0, ran.err
    shown = ran.json
    assert (shown["owner"], shown["epoch"]) == ("sections-a-0", 7)
    assert shown["lease"] == "sections-a-0 held it, and is not alive any more"
    assert (shown["enrolled"], shown["capacity"], shown["waitlisted"]) == (1, 1, 2)
    assert [(one["place"], one["blocked"]) for one in shown["waitlist"]] == [(4, []), (5, ["credit_limit"])]

    plain = await seatline(tmp_path, "section", "show", str(section_id), **environment)
    assert plain.code == 0
    assert "blocked: credit_limit" in plain.out
    await world.close()


async def test_a_section_that_does_not_exist(database_url: str, redis_url: str, tmp_path: Path) -> None:
    ran = await seatline(tmp_path, "section", "show", "999999", DATABASE_URL=database_url, REDIS_URL=redis_url)
    assert ran.code == 1
    assert "no section 999999" in ran.err
