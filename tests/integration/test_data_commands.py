"""The commands ``seed``, ``import``, ``replay`` and ``token``."""

from __future__ import annotations

import asyncio
import json
import stat
from pathlib import Path
from typing import NamedTuple

import pytest
from typer.testing import CliRunner

from cluster.cli import app
from tests.drain_loop import ask, enroll, make_service, running
from tests.sample_campus import PostgresWorld

pytestmark = pytest.mark.services

HEADER = "subj_course_id\tsec_code\tsec_id\ttotal_seats\tmeetings\n"
ROW = "CSE 100\tA01\t000001\t30\tLE,TuTh,17:00 - 18:20,X 1\n"


class Done(NamedTuple):
    """How a command ended, and what it said."""

    returncode: int
    stdout: str
    stderr: str


@pytest.fixture
def environment(fresh_database_url: str, redis_url: str, tmp_path: Path) -> dict[str, str]:
    return {
        "DATABASE_URL": fresh_database_url,
        "REDIS_URL": redis_url,
        "SEATLINE_HOME": str(tmp_path / "home"),
        "COLUMNS": "200",
    }


async def seatline(environment: dict[str, str], *arguments: str) -> Done:
    """Run a command in this process, on a thread with its own loop: a new process would spend seconds on imports."""
    done = await asyncio.to_thread(CliRunner().invoke, app, arguments, env=environment)
    return Done(done.exit_code, done.stdout, done.stderr)


async def test_import_tells_what_it_did_and_refused(environment: dict[str, str], tmp_path: Path) -> None:
    path = tmp_path / "sp22.tsv"
    path.write_text(HEADER + ROW + "broken\n")
    first = await seatline(environment, "import", "ucsd", str(path), "--new-semester", "--json")
    assert first.returncode == 1, "rows were refused"
    assert "1 rows were refused; all others are imported" in first.stderr
    report = json.loads(first.stdout)
    assert report["rows"]["sections"] == {"made": 1, "changed": 0, "unchanged": 0}
    assert report["refusals"] == [{"line": 3, "reason": "1 columns instead of 5"}]
    again = await seatline(environment, "import", "ucsd", str(path))
    assert again.returncode == 1
    assert "line 3: 1 columns instead of 5" in again.stderr
    assert "sections" in again.stdout
    path.write_text(HEADER + ROW + "\n")
    assert (await seatline(environment, "import", "ucsd", str(path))).returncode == 0


async def test_a_file_of_refused_rows_imports_nothing(environment: dict[str, str], tmp_path: Path) -> None:
    """Field case 23: it exited 0, and the term was there."""
    path = tmp_path / "sp22.tsv"
    path.write_text(HEADER + "MID 1\tA00\t9601\t30\tLE,MW,11:00 - 0:15,X\n")
    done = await seatline(environment, "import", "ucsd", str(path), "--new-semester", "--json")
    assert done.returncode == 1
    assert "nothing was imported" in done.stderr
    assert json.loads(done.stdout)["rows"] == {}
    path.write_text(HEADER)
    assert (await seatline(environment, "import", "ucsd", str(path), "--new-semester")).returncode == 1
    assert "none yet" in (await seatline(environment, "import", "ucsd", str(path))).stderr


async def test_a_semester_is_made_only_when_asked(environment: dict[str, str], tmp_path: Path) -> None:
    """Field case 23: a copy of a file opened a term of its own."""
    path, copy = tmp_path / "sp22_sections.tsv", tmp_path / "Copy of sp22_sections.tsv"
    for one in (path, copy):
        one.write_text(HEADER + ROW)
    refused = await seatline(environment, "import", "ucsd", str(path))
    assert refused.returncode == 1
    assert "there is no semester 'SP22'" in refused.stderr
    assert "There are: none yet" in refused.stderr
    assert "--new-semester" in refused.stderr
    assert (await seatline(environment, "import", "ucsd", str(path), "--new-semester")).returncode == 0
    assert (await seatline(environment, "import", "ucsd", str(path), "--new-semester")).returncode == 0
    copied = await seatline(environment, "import", "ucsd", str(copy))
    assert copied.returncode == 1
    assert "'COPY OF SP22'" in copied.stderr
    assert "There are: 'SP22'" in copied.stderr
    assert (await seatline(environment, "import", "ucsd", str(copy), "--semester", " SP22 ")).returncode == 0
    other_case = await seatline(environment, "import", "ucsd", str(path), "--semester", "sp22", "--new-semester")
    assert other_case.returncode == 1
    assert "differs by case only from 'SP22'" in other_case.stderr


async def test_the_semester_of_an_instance_is_made_only_when_asked(environment: dict[str, str], tmp_path: Path) -> None:
    path = tmp_path / "s.xml"
    path.write_text('<solution name="x"><class id="1" days="1000000" start="1" weeks="1"/></solution>')
    arguments = ("import", "itc2019", "--solution", str(path))
    assert "there is no semester 'x'" in (await seatline(environment, *arguments)).stderr
    assert (await seatline(environment, *arguments, "--new-semester")).returncode == 0
    path.write_text('<solution name="x"><class id="1" days="1000000" start="1" weeks="1"/><class id="1"/></solution>')
    assert (await seatline(environment, *arguments)).returncode == 1


async def test_messages_show_file_names_with_brackets(environment: dict[str, str], tmp_path: Path) -> None:
    path = tmp_path / "sp22[bold].tsv"
    path.write_text("nonsense\n")
    done = await seatline(environment, "import", "ucsd", str(path))
    assert done.returncode == 1
    assert "[bold]" in done.stderr


async def test_files_that_cannot_be_used(environment: dict[str, str], tmp_path: Path) -> None:
    path = tmp_path / "x.tsv"
    path.write_text("nonsense\n")
    assert (await seatline(environment, "import", "ucsd", str(path))).returncode == 1
    assert (await seatline(environment, "import", "ucsd", str(tmp_path / "absent.tsv"))).returncode == 2


async def test_a_database_without_tables_says_what_to_do(environment: dict[str, str], empty_database_url: str) -> None:
    done = await seatline(
        {**environment, "DATABASE_URL": empty_database_url}, "seed", "--sections", "5", "--students", "5"
    )
    assert done.returncode == 4
    assert "seatline db upgrade" in done.stderr


async def test_seed_then_tokens(environment: dict[str, str], tmp_path: Path) -> None:
    seeded = await seatline(environment, "seed", "--sections", "20", "--students", "30", "--json")
    assert seeded.returncode == 0, seeded.stderr
    assert set(json.loads(seeded.stdout)["demo_logins"]) == {"student", "teacher", "admin"}
    kept = tmp_path / "home" / "secrets" / "demo-logins.txt"
    assert "admin@demo.seatline.example" in kept.read_text()
    assert stat.S_IMODE(kept.stat().st_mode) == 0o600
    path = tmp_path / "tokens.jsonl"
    assert (await seatline(environment, "token", "--all", "--out", str(path))).returncode == 0
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    assert len(lines) == 31
    assert {"student_id", "token"} <= lines[0].keys()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    one = await seatline(environment, "token", "--student", "S000001")
    assert one.stdout.count(".") == 2
    assert (await seatline(environment, "token", "--student", "nobody")).returncode == 1
    assert (await seatline(environment, "token")).returncode == 2


async def test_production_gets_no_demo_logins_and_no_tokens(environment: dict[str, str]) -> None:
    production = {**environment, "SEATLINE_ENV": "production", "SEATLINE_JWT_SECRET": "s" * 40}
    assert (await seatline(production, "token", "--student", "S000001")).returncode == 3
    refused = await seatline(production, "seed", "--sections", "5", "--students", "5", "--demo-logins")
    assert refused.returncode == 3
    plain = await seatline(production, "seed", "--sections", "5", "--students", "5", "--json")
    assert plain.returncode == 0, plain.stderr
    assert json.loads(plain.stdout)["demo_logins"] == {}


async def test_replay_without_a_server_says_what_to_do(environment: dict[str, str], tmp_path: Path) -> None:
    path = tmp_path / "s.xml"
    path.write_text('<solution name="x"><class id="1" days="1000000" start="1" weeks="1"/></solution>')
    done = await seatline(environment, "replay", "itc2019", "--solution", str(path))
    assert done.returncode == 4
    assert "seatline up" in done.stderr
    done = await seatline(environment, "replay", "itc2019", "--solution", str(path), "--url", "http://127.0.0.1:9")
    assert done.returncode == 4


async def test_a_roster_is_exported_as_csv_that_runs_nothing(environment: dict[str, str], tmp_path: Path) -> None:
    world = await PostgresWorld.create(environment["DATABASE_URL"])
    section_id, student_id = await world.add_section(3), await world.add_student()
    await world.connection.execute("UPDATE users SET name = '=1+1'")
    async with running(make_service(world.store())) as service:
        await ask(service, enroll(student_id, section_id))
    await world.close()

    path = tmp_path / "roster.csv"
    shown = await seatline(environment, "export", "roster", str(section_id))
    kept = await seatline(environment, "export", "roster", str(section_id), "--bom", "--out", str(path))
    missing = await seatline(environment, "export", "roster", "999999")

    assert (shown.returncode, kept.returncode, missing.returncode) == (0, 0, 1), shown.stderr
    assert '"\'=1+1"' in shown.stdout
    assert path.read_text(encoding="utf-8-sig").splitlines() == shown.stdout.splitlines()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
