"""Section actors that are killed or frozen, at the worst moments."""

from __future__ import annotations

import asyncio
import os
import signal
import time

import pytest

from tests.faults.conftest import OpenRow
from tests.faults.stand import Stand, owner_of
from tests.faults.tcp_proxy import Link, Trap, Way

pytestmark = pytest.mark.faults

COMMIT = b"Q\x00\x00\x00\x0bCOMMIT\x00"
"""As the batch store sends it; everybody else's ends with a semicolon."""

COMMITTED = b"C\x00\x00\x00\x0bCOMMIT\x00"
SPRING_MAX_S = 10.0


def kills(stand: Stand, *, loses: bool) -> Trap:
    """Kill the actor whose bytes go by; they are lost, or passed on."""
    raise NotImplementedError


async def test_actor_killed_before_commit(stand: Stand, open_row: OpenRow) -> None:
    async with open_row(4, "actor killed before COMMIT", stand) as row:

        async def kill(link: Link) -> None:
            pid = owner_of(link, stand.actor_pids())
            assert pid is not None
            os.kill(pid, signal.SIGKILL)
            link.reset()

        row.injects("kill -9 as COMMIT is on its way, which never arrives")
        stand.postgres.trap = trap = Trap(Way.TO_SERVER, COMMIT, kill)
        await asyncio.wait_for(trap.sprung.wait(), SPRING_MAX_S)
        row.healed()
        await row.recovers()
