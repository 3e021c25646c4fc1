"""The outbox relay, killed in the middle of a delivery."""

from __future__ import annotations

import asyncio
import os
import re
import signal
from collections import Counter
from pathlib import Path

import pytest

from cluster.embedded import EmbeddedServices
from persistence.store.changes import TOPICS
from tests.faults.conftest import OpenRow
from tests.faults.row import Row
from tests.faults.stand import Stand, open_stand, owner_of
from tests.faults.tcp_proxy import Link, Trap, Way

pytestmark = pytest.mark.faults

FORGET = b"DELETE FROM outbox"
KILLS = 3
DELIVERED = re.compile(r'"event":"outbox: \w+ (\d+:\d+)"')


async def test_relay_killed_between_sending_and_marking(
    services: EmbeddedServices, short_tmp: Path, open_row: OpenRow
) -> None:
    async with (
        open_stand(services, short_tmp, "relay_killed", LOG_LEVEL="DEBUG") as stand,
        open_row(21, "the relay killed between sending and marking", stand) as row,
    ):
        logs = []
        row.injects(
            f"kill -9 of the API process that relays, as it deletes from the outbox what it sent, {KILLS} times"
        )
        for _ in range(KILLS):
            (api,) = stand.api_pids()
            logs.append(log_of(api))
            await kill_the_relay(stand, api)
            async with asyncio.timeout(30):
                while api in stand.api_pids() or not stand.api_pids():
                    await asyncio.sleep(0.05)
        row.healed()
        await row.recovers()
        logs.append(log_of(stand.api_pids()[0]))
        await row.load.stop()
        async with asyncio.timeout(20):
            while await stand.fetchval("SELECT count(*) FROM outbox"):
                await asyncio.sleep(0.1)
        expected = await ids_of_messages(row)
        delivered = Counter(one for log in logs for one in DELIVERED.findall(log.read_text(encoding="utf-8")))
        missing = expected - delivered.keys()
        repeated = sum(1 for one in expected if delivered[one] > 1)
        row.note(
            f"{len(expected):,} messages, {len(missing)} never delivered, {repeated} more than once, each by its id"
        )
        assert not missing, sorted(missing)[:10]
        assert repeated > 0, "nothing was delivered twice: the relay was not killed at the moment that was meant"


async def kill_the_relay(stand: Stand, api: int) -> None:
    """Kill the API process when the text of the statement that forgets goes by: the first on a new connection."""

    async def kill(link: Link) -> None:
        os.kill(api, signal.SIGKILL)
        link.is_cut = True

    trap = Trap(Way.TO_SERVER, FORGET, kill, lambda link: owner_of(link, [api]) == api)
    stand.postgres.trap = trap
    await stand.execute(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
        "WHERE datname = current_database() AND application_name LIKE '%outbox'"
    )
    await asyncio.wait_for(trap.sprung.wait(), 10)


async def ids_of_messages(row: Row) -> set[str]:
    """Of all that students were to be told."""
    rows = await row.campus.connection.fetch(
        "SELECT section_id || ':' || seq FROM enrollment_history WHERE section_id = ANY($1::bigint[]) "
        "AND kind = ANY($2::text[])",
        row.sections,
        [event.__name__ for event in TOPICS],
    )
    return {event_id for (event_id,) in rows}


def log_of(pid: int) -> Path:
    """Where a process writes its log."""
    return Path(f"/proc/{pid}/fd/2").readlink()
