"""A Seatline with two database roles: which role its processes use, and that they do not have the owner's URL."""

from __future__ import annotations

from pathlib import Path

import psutil
import pytest

from tests.acceptance.seatline import Client, Seatline
from tests.sample_campus import PostgresWorld

pytestmark = pytest.mark.cluster

OWNER = b"SEATLINE_OWNER_DATABASE_URL="


def environment_of(pid: int) -> bytes:
    """With what environment a process was started."""
    return Path(f"/proc/{pid}/environ").read_bytes()


@pytest.mark.skipif(not Path("/proc/self/environ").exists(), reason="reads the environments of processes from /proc")
async def test_no_process_that_serves_was_given_the_owners_address(seatline: Seatline) -> None:
    children = psutil.Process(seatline.process.pid).children(recursive=True)

    assert OWNER in environment_of(seatline.process.pid), "the command itself was"
    assert {"gcs_server", "raylet"} <= {child.name() for child in children}
    assert [child.name() for child in children if OWNER in environment_of(child.pid)] == []


async def test_every_connection_of_a_serving_process_is_the_app_roles(
    seatline: Seatline, client: Client, campus: PostgresWorld
) -> None:
    section_id, student_id = await campus.add_section(1), await campus.add_student()
    assert (await client.enroll(student_id, section_id)).status == 201

    rows = await campus.connection.fetch(
        "SELECT DISTINCT usename::text FROM pg_stat_activity"
        " WHERE application_name LIKE 'seatline%' AND datname = current_database()"
    )

    assert [row[0] for row in rows] == ["seatline_app"]
