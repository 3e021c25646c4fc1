"""Redis dead, flushed or slow: enrolment goes on."""

from __future__ import annotations

import asyncio
import os
import signal
import time

import pytest

from tests.faults.conftest import OpenRow
from tests.faults.row import Row
from tests.faults.stand import Stand
from tests.faults.takeover import ACTORS, enroll_elsewhere, gateways, sections_of

pytestmark = pytest.mark.faults

OUTAGE_S = 6.0
SLOW_S = 2.0
SPELL_S = 8.0
FLUSHES = 5
NOTICED_S = 0.5
"""After this long every breaker has seen that Redis is slow."""


async def test_redis_killed(stand: Stand, open_row: OpenRow) -> None:
    async with open_row(12, "Redis killed", stand) as row:
        row.injects(f"kill -9 of Valkey; nobody listens there for {OUTAGE_S:.0f} s")
        before = len(row.load.served)
        os.kill(stand.services.pids["valkey"], signal.SIGKILL)
        stand.redis.refuse()
        await asyncio.sleep(OUTAGE_S)
        ready = await row.client.request("GET", "/ready")
        row.note(f"{len(row.load.served) - before:,} answers without Redis; /ready says {ready.body['status']}")
        assert (ready.status, ready.body["status"]) == (200, "degraded")
        assert len(row.load.served) > before + 100
        stand.redis.heal()
        row.healed()
        await row.recovers()
        assert row.load.counts.by_code.total() == 0, "Redis is a hint: nobody may notice that it is away"
        await is_ready_again(row)


async def test_redis_forgets_everything(stand: Stand, open_row: OpenRow) -> None:
    async with open_row(13, "Redis forgets all leases", stand) as row, gateways(stand) as gateway_to:
        row.injects(f"FLUSHALL, {FLUSHES} times, each time followed by enrolments through an actor that owns nothing")
        epochs = await sum_of_epochs(row)
        for n in range(FLUSHES):
            await stand.flush_redis()
            other = ACTORS[n % 2]
            await enroll_elsewhere(row, gateway_to[other], sections_of(row, ACTORS[(n + 1) % 2]))
            await row.steady(0.5)
        row.healed()
        await row.recovers()
        taken = await sum_of_epochs(row) - epochs
        row.note(f"sections changed hands {taken} times")
        assert taken > 0, "nobody took a section: nothing was tried"


async def test_redis_slow(stand: Stand, open_row: OpenRow) -> None:
    async with open_row(14, f"Redis answers after {SLOW_S:.0f} s", stand) as row:
        normal = await p99_ms_of(row, SPELL_S)
        row.injects(f"the proxy holds everything to and from Redis for {SLOW_S:.0f} s, for {SPELL_S:.0f} s")
        stand.redis.delay_s = SLOW_S
        await asyncio.sleep(NOTICED_S)
        slow = await p99_ms_of(row, SPELL_S)
        stand.redis.heal()
        row.healed()
        await row.recovers()
        row.note(f"99th percentile of an operation: {normal:.0f} ms before, {slow:.0f} ms while Redis was slow")
        assert slow < 2 * normal + 100
        await is_ready_again(row)


async def p99_ms_of(row: Row, seconds: float) -> float:
    """The 99th percentile of operations that were begun and answered in a spell that starts now."""
    since = time.monotonic()
    await asyncio.sleep(seconds)
    took_ms = sorted(1000 * (one.answered_at - one.asked_at) for one in row.load.served if one.asked_at > since)
    return took_ms[int(len(took_ms) * 0.99)]


async def is_ready_again(row: Row) -> None:
    """Breakers try again after some seconds."""
    async with asyncio.timeout(10):
        while (await row.client.request("GET", "/ready")).body["status"] != "ok":
            await asyncio.sleep(0.1)


async def sum_of_epochs(row: Row) -> int:
    """Rises by one for each activation."""
    epochs: int = await row.campus.connection.fetchval(
        "SELECT sum(epoch)::bigint FROM section_seats WHERE section_id = ANY($1::bigint[])", row.sections
    )
    return epochs
