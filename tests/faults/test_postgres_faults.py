"""Postgres away, slow, silent, full, read-only, or cut off in the middle of a commit."""

from __future__ import annotations

import asyncio
import os
import signal
import time

import asyncpg
import pytest

from tests.faults import moments
from tests.faults.conftest import OpenRow
from tests.faults.row import Row
from tests.faults.stand import Stand
from tests.faults.tcp_proxy import Link

pytestmark = pytest.mark.faults

SPRING_MAX_S = 10.0
OUTAGE_S = 8.0
"""Longer than the deadline of a request, so that some are answered without Postgres."""

SERVING_AGAIN_S = 10.0


async def test_reply_to_commit_lost(stand: Stand, open_row: OpenRow) -> None:
    async with open_row(5, "the reply to COMMIT is lost", stand) as row:

        async def mute(link: Link) -> None:
            link.is_muted = True

        row.injects("the proxy drops Postgres' reply to a COMMIT and all that follows on that connection")
        stand.postgres.trap = trap = moments.after_commit(stand, mute)
        await asyncio.wait_for(trap.sprung.wait(), SPRING_MAX_S)
        row.healed()
        await row.recovers()


async def test_black_hole_in_mid_batch(stand: Stand, open_row: OpenRow) -> None:
    async with open_row(6, "Postgres vanishes in mid-batch", stand) as row:

        async def vanish(_: Link) -> None:
            stand.postgres.black_hole()

        row.injects(f"with COMMIT on its way the proxy stops passing anything, for {OUTAGE_S:.0f} s; then all of it")
        stand.postgres.trap = trap = moments.before_commit(vanish)
        await asyncio.wait_for(trap.sprung.wait(), SPRING_MAX_S)
        await nothing_is_acknowledged(row, OUTAGE_S)
        stand.postgres.heal()
        row.healed()
        await row.recovers()


async def test_connections_terminated_at_random(stand: Stand, open_row: OpenRow) -> None:
    async with open_row(7, "connections terminated at random", stand) as row:
        row.injects("pg_terminate_backend of a random connection of Seatline, five times a second for 15 s")
        killed = 0
        for _ in range(75):
            killed += await row.campus.connection.fetchval(
                "SELECT count(pg_terminate_backend(pid)) FROM (SELECT pid FROM pg_stat_activity "
                "WHERE datname = current_database() AND application_name LIKE 'seatline%' "
                "ORDER BY random() LIMIT 1) AS one"
            )
            await asyncio.sleep(0.2)
        row.note(f"{killed} connections terminated")
        row.healed()
        await row.recovers()


async def test_immediate_stop_and_restart(stand: Stand, open_row: OpenRow) -> None:
    async with open_row(8, "Postgres stopped without a shutdown, and started again", stand) as row:
        old = stand.services.pids["postgres"]
        row.injects("SIGQUIT to the postmaster (pg_ctl stop -m immediate); it is started again and recovers")
        os.kill(old, signal.SIGQUIT)
        while not await is_up(stand, other_than=old):
            await asyncio.sleep(0.05)
        row.healed()
        assert await row.recovers() < SERVING_AGAIN_S


async def test_demoted_primary(stand: Stand, open_row: OpenRow) -> None:
    reason = "no second Postgres to fail over to; the server refuses writes with the same code as a demoted one"
    async with open_row(9, "the primary is demoted", stand, nearest=reason) as row:
        before = await connections_of_actors(row)
        row.injects("default_transaction_read_only = on for the whole server, 25006 for every write, for 4 s")
        await stand.change_server_setting("default_transaction_read_only", "on")
        try:
            await nothing_is_acknowledged(row, 4.0)
            during = await connections_of_actors(row)
            assert not before & during, "a connection that answered 25006 is still in use"
        finally:
            await stand.change_server_setting("default_transaction_read_only", None)
        row.note("the connections that answered 25006 were given up")
        row.healed()
        await row.recovers()


async def test_standby_that_does_not_exist(stand: Stand, open_row: OpenRow) -> None:
    async with open_row(10, "a synchronous standby that does not answer", stand) as row:
        row.injects(f"synchronous_standby_names set to a name that is not there, for {OUTAGE_S:.0f} s")
        await stand.change_server_setting("synchronous_standby_names", "nobody")
        try:
            await asyncio.sleep(OUTAGE_S)
            unknown = row.load.counts.by_code["outcome_unknown"]
        finally:
            await stand.change_server_setting("synchronous_standby_names", None)
        assert unknown > 0, "commits hung, and nobody was told that their outcome is unknown"
        row.healed()
        await row.recovers()


async def test_no_connections_left(stand: Stand, open_row: OpenRow) -> None:
    async with open_row(11, "max_connections exhausted", stand) as row:
        actors_before, apis_before = stand.actor_pids(), stand.api_pids()
        row.injects("every connection of Postgres taken, those of Seatline terminated, for 6 s")
        taken = await take_all_connections(stand, row)
        try:
            await nothing_is_acknowledged(row, 6.0)
        finally:
            for one in taken:
                one.terminate()
        row.note(f"{len(taken)} connections taken")
        row.healed()
        await row.recovers()
        assert (stand.actor_pids(), stand.api_pids()) == (actors_before, apis_before), "a process did not survive it"


async def nothing_is_acknowledged(row: Row, seconds: float) -> None:
    """No definite answer in this time, after a moment for those that were out already; only 503 by the deadline."""
    await asyncio.sleep(0.5)
    since = time.monotonic()
    await asyncio.sleep(seconds - 0.5)
    served = [one for one in row.load.served if one.answered_at > since]
    assert not served, f"{len(served)} answers without Postgres, the first for section {served[0].section_id}"


async def is_up(stand: Stand, other_than: int) -> bool:
    """Whether another postmaster answers."""
    if stand.services.pids["postgres"] == other_than:
        return False
    try:
        await stand.execute("SELECT 1")
    except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError):
        return False
    return True


async def connections_of_actors(row: Row) -> set[int]:
    """Backends that serve section actors."""
    rows = await row.campus.connection.fetch(
        "SELECT pid FROM pg_stat_activity WHERE datname = current_database() AND application_name = 'seatline-actor'"
    )
    return {pid for (pid,) in rows}


async def take_all_connections(stand: Stand, row: Row) -> list[asyncpg.Connection]:
    """Open connections until there are no more, ending Seatline's again and again meanwhile."""
    taken: list[asyncpg.Connection] = []
    async with asyncio.timeout(60):
        while True:
            await row.campus.connection.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                "WHERE datname = current_database() AND application_name LIKE 'seatline%'"
            )
            try:
                while True:
                    taken.append(await asyncpg.connect(stand.database_url, timeout=10))
            except asyncpg.TooManyConnectionsError:
                left = await row.campus.connection.fetchval(
                    "SELECT count(*) FROM pg_stat_activity "
                    "WHERE datname = current_database() AND application_name LIKE 'seatline%'"
                )
                if left == 0:
                    return taken
