"""The processes of a running Seatline: their database roles, their secrets, and where they listen."""

from __future__ import annotations

import stat
from pathlib import Path

import psutil
import pytest

from tests.acceptance.seatline import Seatline
from tests.sample_campus import PostgresWorld
from tests.security.conftest import urls_of

pytestmark = pytest.mark.cluster


def processes(seatline: Seatline) -> list[psutil.Process]:
    """Its own process and all that came from it."""
    parent = psutil.Process(seatline.process.pid)
    return [parent, *parent.children(recursive=True)]


def mode_of(path: Path) -> int:
    """Who may do what with a file."""
    return stat.S_IMODE(path.stat().st_mode)


async def test_what_serves_requests_is_the_role_of_few_rights(victim: Seatline, campus: PostgresWorld) -> None:
    rows = await campus.connection.fetch(
        "SELECT DISTINCT usename::text FROM pg_stat_activity WHERE application_name LIKE 'seatline%'"
    )

    assert {row[0] for row in rows} == {"seatline_app"}
    assert victim.database_url.startswith("postgresql://seatline@"), "the tests themselves are the owner"


async def test_the_doctor_finds_nothing_to_warn_of_in_the_role(victim: Seatline) -> None:
    _, report, error = await victim.run("doctor", "--json")

    assert report is not None, error
    (row,) = [row for row in report["rows"] if row["name"] == "database role"]
    assert (row["state"], row["value"]) == ("ok", "seatline_app may only add to the history")


async def test_no_other_user_of_the_machine_can_read_secrets_or_reach_the_services(victim: Seatline) -> None:
    secrets = [path for path in (victim.home / "secrets").iterdir() if path.is_file()]
    assert {"jwt", "ray-token"} <= {path.name for path in secrets}
    sockets = Path(urls_of(victim).redis_url.removeprefix("unix://").partition("?")[0])

    for path in (*secrets, victim.home / "run" / "services.json"):
        assert mode_of(path) & 0o077 == 0, path
    assert mode_of(victim.home / "secrets") == 0o700
    assert mode_of(sockets) & 0o077 == 0


async def test_postgres_and_valkey_listen_on_no_network(victim: Seatline) -> None:
    servers = [one for one in processes(victim) if "postgres" in one.name() or "valkey" in one.name()]
    assert servers
    listening = [
        (one.name(), connection.laddr)
        for one in servers
        for connection in one.net_connections("tcp")
        if connection.status == psutil.CONN_LISTEN
    ]

    assert listening == []
