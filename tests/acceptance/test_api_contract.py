"""The API of a running Seatline against its own OpenAPI document, with requests made by schemathesis."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

import pytest

from allocator.model.read_models import Role
from tests.acceptance.seatline import Client, Seatline, add_admin
from tests.sample_campus import PostgresWorld, monday

pytestmark = pytest.mark.cluster

SEED = "20261123"

# "Valid by the schema" says nothing of what only the state can tell: a key that was used before, an opaque cursor.
EXCLUDED_CHECKS = "positive_data_acceptance"


@pytest.mark.parametrize("role", [Role.STUDENT, Role.ADMIN, None])
async def test_every_answer_is_as_documented(
    seatline: Seatline, client: Client, campus: PostgresWorld, role: Role | None
) -> None:
    section_id = await campus.add_section(2, meetings=monday(9))
    student_id = await campus.add_student()
    if role is Role.STUDENT:
        token = client.token(student_id)
        assert (await client.enroll(student_id, section_id)).status == 201
    elif role is None:
        token = None
    else:
        token = client.staff_token(await add_admin(seatline.database_url), role)

    code, output = await schemathesis(f"{seatline.url}/api/openapi.json", token)

    assert code == 0, output


async def schemathesis(url: str, token: str | None) -> tuple[int, str]:
    """Run it; exit code and report."""
    login = () if token is None else ("--header", f"Authorization: Bearer {token}")
    process = await asyncio.create_subprocess_exec(
        str(Path(sys.executable).with_name("schemathesis")),
        "run",
        url,
        *login,
        *("--phases", "coverage,fuzzing", "--max-examples", "10", "--seed", SEED),
        *("--checks", "all", "--exclude-checks", EXCLUDED_CHECKS),
        *("--continue-on-failure", "--no-color", "--generation-database", "none"),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    output, _ = await process.communicate()
    assert process.returncode is not None
    return process.returncode, output.decode()
