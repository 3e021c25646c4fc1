"""``auto`` placement: a section with 80 % of the load gets an actor of its own, and returns to the pool afterwards."""

from __future__ import annotations

import asyncio
import itertools
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from cluster.embedded import EmbeddedServices
from tests.acceptance.seatline import Client
from tests.acceptance.test_controller import figure, owner_of
from tests.acceptance.test_registration import students_of
from tests.faults import checks
from tests.faults.conftest import NewReport
from tests.faults.stand import open_stand
from tests.sample_campus import PostgresWorld

pytestmark = [pytest.mark.faults, pytest.mark.timeout(300)]

CONNECTIONS = 64
PAUSE_S = 0.1
"""Of a connection after each answer: a load that leaves the machine room to start a process."""
COLD_SECTIONS = 19
HOT_OF_TEN = 8
WINDOW_S = 8.0
OWN_ACTOR_WITHIN_S = 10.0


class Rush:
    """Students who each enrol once, eight of ten in the hot section while it is hot; of each answer when it came."""

    def __init__(self, client: Client, students: list[int], hot: int, cold: list[int]) -> None:
        self._client = client
        self._students = iter(students)
        self._hot = hot
        self._cold = itertools.cycle(cold)
        self._turn = itertools.count()
        self.is_hot = True
        self.is_over = False
        self.answers: list[tuple[float, float, int]] = []

    async def run(self) -> None:
        """Until it is over."""
        await asyncio.gather(*(self._work() for _ in range(CONNECTIONS)))

    async def _work(self) -> None:
        while not self.is_over:
            wants_hot = self.is_hot and next(self._turn) % 10 < HOT_OF_TEN
            section_id = self._hot if wants_hot else next(self._cold)
            asked = time.monotonic()
            answer = await self._client.enroll(next(self._students), section_id)
            self.answers.append((time.monotonic(), time.monotonic() - asked, answer.status))
            await asyncio.sleep(PAUSE_S)

    def figures(self, since: float, until: float) -> str:
        """Throughput and latency of a window."""
        took = sorted(one for at, one, _ in self.answers if since <= at < until)
        p50_ms, p99_ms = statistics.median(took) * 1000, statistics.quantiles(took, n=100)[98] * 1000
        return f"{len(took) / (until - since):,.0f}/s, p50 {p50_ms:.0f} ms, p99 {p99_ms:.0f} ms"


async def test_a_section_with_most_of_the_load_gets_its_own_actor(
    services: EmbeddedServices, short_tmp: Path, new_report: NewReport
) -> None:
    report = new_report(31, "a section takes 80 % of the load")
    async with open_stand(services, short_tmp, "auto_placement", SEATLINE_COOL_FOR_S="5") as stand:
        world = await PostgresWorld.create(stand.database_url)
        hot, *cold = [await world.add_section(1_000_000) for _ in range(1 + COLD_SECTIONS)]
        students = await students_of(world, 60_000)
        async with stand.seatline.client(4 * 3600) as client:
            rush = Rush(client, students, hot, cold)
            report.injected.append(
                f"{CONNECTIONS} connections in a closed loop, {HOT_OF_TEN} of 10 for one of 20 sections"
            )
            started = time.monotonic()
            running = asyncio.create_task(rush.run())
            own = f"section-{hot}"
            decided_s = await seconds_until(lambda: has_pinned(client), started)
            pinned_s = await seconds_until(lambda: is_owned_by(world, hot, own), started)
            before = rush.figures(started + 1, started + pinned_s)
            report.notes.append(f"decided after {decided_s:.1f} s, own actor after {pinned_s:.1f} s; before: {before}")
            settled = time.monotonic() + 1.0
            await asyncio.sleep(1.0 + WINDOW_S)
            report.notes.append(f"with it: {rush.figures(settled, settled + WINDOW_S)}")
            rush.is_hot = False
            cooled = time.monotonic()
            back_s = await seconds_until(lambda: has_no_pins(client), cooled)
            await asyncio.sleep(3.0)
            after = time.monotonic()
            await asyncio.sleep(WINDOW_S)
            report.notes.append(f"back after {back_s:.1f} s; then: {rush.figures(after, after + WINDOW_S)}")
            rush.is_over = True
            await running
            statuses = [status for _, _, status in rush.answers]
            report.requests = report.acknowledged = len(statuses)
            assert set(statuses) == {201}, "no request may be refused or lost"
            again = await students_of(world, 1)
            assert (await client.enroll(again[0], hot)).status == 201
            assert (await owner_of(world, hot)).startswith("sections-")
        report.verify = await checks.verify(stand.seatline)
        assert pinned_s < OWN_ACTOR_WITHIN_S
        report.history = f"{len(statuses):,} enrolments, all 201"
        report.passed = True
        await world.close()


async def is_owned_by(world: PostgresWorld, section_id: int, actor: str) -> bool:
    """Whether the actor activated the section last."""
    return await owner_of(world, section_id) == actor


async def has_pinned(client: Client) -> bool:
    """Whether it was decided that a section gets an actor of its own."""
    text = (await client.request("GET", "/metrics")).body.decode()
    return 'seatline_actor_decisions_total{actor="controller",code="pin"}' in text


async def has_no_pins(client: Client) -> bool:
    """Whether no section has an actor of its own."""
    return await figure(client, "pins") == 0


async def seconds_until(is_so: Callable[[], object], since: float) -> float:
    """How long after ``since`` something became so."""
    async with asyncio.timeout(60):
        while not await is_so():  # type: ignore[misc]
            await asyncio.sleep(0.1)
    return time.monotonic() - since
