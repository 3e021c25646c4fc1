"""The commands ``seatline verify`` and ``seatline doctor``: output and exit codes."""

from __future__ import annotations

import asyncio
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import asyncpg
import pytest
from typer.testing import CliRunner

from cluster.cli import app

pytestmark = pytest.mark.services

NOWHERE = "postgresql://127.0.0.1:1/seatline"


@dataclass(frozen=True)
class Ran:
    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


async def seatline(home: Path, *arguments: str, **environment: str) -> Ran:
    """The command, in a thread: it brings its own loop."""
    others = dict.fromkeys(("DATABASE_URL", "REDIS_URL", "RAY_ADDRESS", "PORT", "SEATLINE_ENV"))
    result = await asyncio.to_thread(
        CliRunner().invoke, app, arguments, env={**others, "SEATLINE_HOME": str(home), **environment}
    )
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return Ran(result.exit_code, result.stdout, result.stderr)


async def break_outbox(url: str) -> None:
    connection = await asyncpg.connect(url)
    await connection.execute("INSERT INTO outbox (event_id, topic, payload) VALUES ('1:1', 'enrolled', '{}')")
    await connection.close()


async def test_verify_of_a_healthy_database(fresh_database_url: str, redis_url: str, tmp_path: Path) -> None:
    ran = await seatline(tmp_path, "verify", "--json", DATABASE_URL=fresh_database_url, REDIS_URL=redis_url)
    assert ran.code == 0, ran.err
    assert ran.json["ok"] is True
    assert ran.json["findings"] == []
    assert {check["invariant"] for check in ran.json["checks"]} == {f"I{n}" for n in range(1, 11)}
    assert ran.json["memory"].startswith("no Seatline runs")
    assert "✓ I9" in ran.err


async def test_verify_of_a_broken_database_exits_with_5_and_shows_the_rows(
    fresh_database_url: str, redis_url: str, tmp_path: Path
) -> None:
    await break_outbox(fresh_database_url)
    environment = {"DATABASE_URL": fresh_database_url, "REDIS_URL": redis_url}
    ran = await seatline(tmp_path, "verify", **environment)
    assert ran.code == 5
    assert "I10 is broken" in ran.out
    assert "event_id=1:1" in ran.out
    ran = await seatline(tmp_path, "verify", "--json", **environment)
    assert ran.code == 5
    (finding,) = ran.json["findings"]
    assert (finding["invariant"], finding["total"]) == ("I10", 1)


async def test_verify_without_tables_or_postgres_exits_with_4(
    empty_database_url: str, redis_url: str, tmp_path: Path
) -> None:
    ran = await seatline(tmp_path, "verify", DATABASE_URL=empty_database_url, REDIS_URL=redis_url)
    assert ran.code == 4
    assert "seatline db upgrade" in ran.err
    ran = await seatline(tmp_path, "verify", DATABASE_URL=NOWHERE, REDIS_URL=redis_url)
    assert ran.code == 4
    assert "does not answer" in ran.err


async def test_verify_with_a_wrong_setting_exits_with_3(tmp_path: Path) -> None:
    ran = await seatline(tmp_path, "verify", PORT="notaport")
    assert ran.code == 3
    assert "PORT" in ran.err


async def test_doctor_is_content_with_what_is_well(fresh_database_url: str, redis_url: str, tmp_path: Path) -> None:
    ran = await seatline(tmp_path, "doctor", "--json", DATABASE_URL=fresh_database_url, REDIS_URL=redis_url)
    assert ran.code == 0, ran.out
    rows = {row["name"]: row for row in ran.json["rows"]}
    assert {"Postgres", "Redis", "schema", "durable commits", "max_connections", "libraries"} <= rows.keys()
    assert rows["schema"]["state"] == rows["durable commits"]["state"] == rows["Redis"]["state"] == "ok"
    assert rows["HTTP parser of aiohttp"]["value"] == "C"


async def test_doctor_of_a_machine_where_nothing_runs_is_no_alarm(tmp_path: Path) -> None:
    ran = await seatline(tmp_path, "doctor")
    assert ran.code == 0, ran.out
    assert "seatline up" in ran.out
    assert list(tmp_path.iterdir()) == []  # noqa: ASYNC240


async def test_doctor_finds_what_does_not_answer_and_keeps_secrets(tmp_path: Path) -> None:
    ran = await seatline(
        tmp_path,
        "doctor",
        "--json",
        DATABASE_URL="postgresql://someone:hunter2@127.0.0.1:1/seatline",
        REDIS_URL="redis://:hunter2@127.0.0.1:1/0",
        RAY_ADDRESS="127.0.0.1:1",
    )
    assert ran.code == 4
    bad = {row["name"] for row in ran.json["rows"] if row["state"] == "bad"}
    assert bad == {"Postgres", "Redis", "Ray"}
    assert all(row["mend"] for row in ran.json["rows"] if row["state"] != "ok")
    assert "hunter2" not in ran.out + ran.err


async def test_doctor_finds_a_missing_schema_and_commits_that_can_be_lost(
    empty_database_url: str, redis_url: str, tmp_path: Path
) -> None:
    connection = await asyncpg.connect(empty_database_url)
    name = await connection.fetchval("SELECT current_database()")
    await connection.execute(f"ALTER DATABASE {name} SET synchronous_commit = off")
    await connection.close()
    ran = await seatline(tmp_path, "doctor", "--json", DATABASE_URL=empty_database_url, REDIS_URL=redis_url)
    assert ran.code == 4
    rows = {row["name"]: row for row in ran.json["rows"]}
    assert rows["schema"]["state"] == rows["durable commits"]["state"] == "bad"
    assert "db upgrade" in rows["schema"]["mend"]


@pytest.mark.parametrize(
    "environment", [{"PORT": "notaport"}, {"SEATLINE_ENV": "production"}, {"DATABASE_URL": "mysql://x/y"}]
)
async def test_doctor_finds_wrong_settings(tmp_path: Path, environment: dict[str, str]) -> None:
    ran = await seatline(tmp_path, "doctor", "--json", **environment)
    assert ran.code == 3
    assert [row for row in ran.json["rows"] if row["kind"] == "configuration" and row["state"] == "bad"]
