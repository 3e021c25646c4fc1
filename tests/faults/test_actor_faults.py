"""Section actors that are killed or frozen at the worst moments."""

from __future__ import annotations

import asyncio
import os
import signal

import pytest

from tests.faults import moments
from tests.faults.conftest import OpenRow
from tests.faults.other_gateway import OtherGateway
from tests.faults.row import Row
from tests.faults.stand import Stand, frozen
from tests.faults.takeover import ACTORS, enroll_elsewhere, expect_owner, gateways, sections_of, silent_actor
from tests.faults.tcp_proxy import Link, TcpProxy, Trap

pytestmark = pytest.mark.faults

KILLS = int(os.environ.get("SEATLINE_FAULT_KILLS", "50"))
SPRING_MAX_S = 10.0
LEASE_TTL_S = 5.0


async def spring(row: Row, proxy: TcpProxy, trap: Trap, what: str) -> None:
    """Wait until the trap has sprung, and for all sections to answer again."""
    row.injects(what)
    proxy.trap = trap
    await asyncio.wait_for(trap.sprung.wait(), SPRING_MAX_S)
    row.healed()
    await row.recovers()


async def test_killed_before_commit(stand: Stand, open_row: OpenRow) -> None:
    async with open_row(4, "actor killed before COMMIT", stand) as row:
        trap = moments.before_commit(moments.killing(stand, then_lost=True))
        await spring(row, stand.postgres, trap, "kill -9 as COMMIT is on its way; it never arrives")


async def test_killed_after_commit(stand: Stand, open_row: OpenRow) -> None:
    async with open_row(4, "actor killed after COMMIT", stand) as row:
        trap = moments.after_commit(stand, moments.killing(stand, then_lost=True))
        await spring(row, stand.postgres, trap, "kill -9 as Postgres reports the COMMIT; the actor never hears of it")


async def test_killed_before_the_reply(stand: Stand, open_row: OpenRow) -> None:
    async with open_row(4, "actor killed before its reply", stand) as row:
        trap = moments.before_reply(stand, moments.killing(stand, then_lost=False))
        await spring(row, stand.redis, trap, "kill -9 between the COMMIT and the answers, as caches are told to forget")


async def test_killed_many_times(stand: Stand, open_row: OpenRow) -> None:
    async with open_row(4, f"actor killed {KILLS} times at random moments", stand) as row:
        waits_s: list[float] = []
        row.injects(f"kill -9 of one of two section actors, {KILLS} times")
        for n in range(KILLS):
            await row.steady(0.5)
            pids = stand.actor_pids()
            row.healed()
            os.kill(pids[n % len(pids)], signal.SIGKILL)
            while len(stand.actor_pids()) < len(ACTORS):
                await asyncio.sleep(0.05)
            await row.recovers()
            waits_s += row.waits_s(row.healed_at)
        waits_s.sort()
        p99_s = waits_s[int(len(waits_s) * 0.99)]
        row.note(
            f"a section was silent for {waits_s[len(waits_s) // 2]:.2f} s at the median, {p99_s:.2f} s at the "
            f"99th percentile, {waits_s[-1]:.2f} s at most ({len(waits_s)} times)"
        )
        assert p99_s < 5.0


async def test_frozen_past_its_lease(stand: Stand, open_row: OpenRow) -> None:
    async with open_row(2, "actor frozen past its lease, another takes over", stand) as row:
        row.injects("SIGSTOP of a section actor; another API process takes its sections to the other actor; SIGCONT")
        with frozen(stand.actor_pids()[0]):
            name, other = await silent_actor(row)
            await asyncio.sleep(LEASE_TTL_S)
            async with OtherGateway(stand.seatline, other) as gateway:
                took_s = await enroll_elsewhere(row, gateway, sections_of(row, name))
                row.note(f"the other actor served the frozen one's sections after {took_s:.2f} s")
            await expect_owner(row, sections_of(row, name), other)
        row.healed()
        await row.recovers()


async def test_frozen_between_update_and_commit(stand: Stand, open_row: OpenRow) -> None:
    async with open_row(3, "actor frozen between UPDATE and COMMIT", stand) as row:
        thawed = asyncio.Event()
        pids: list[int] = []

        async def freeze(link: Link) -> None:
            pids.append(moments.actor_of(stand, link))
            os.kill(pids[0], signal.SIGSTOP)
            await thawed.wait()

        async with gateways(stand) as gateway_to:
            row.injects("SIGSTOP with COMMIT unsent and rows locked; FLUSHALL; another API process takes over; SIGCONT")
            stand.postgres.trap = trap = moments.before_commit(freeze)
            await asyncio.wait_for(trap.sprung.wait(), SPRING_MAX_S)
            try:
                name, other = await silent_actor(row)
                await stand.flush_redis()
                took_s = await enroll_elsewhere(row, gateway_to[other], sections_of(row, name))
                await expect_owner(row, sections_of(row, name), other)
            finally:
                thawed.set()
                os.kill(pids[0], signal.SIGCONT)
            row.note(f"taken over in {took_s:.2f} s")
        row.healed()
        await row.recovers()
