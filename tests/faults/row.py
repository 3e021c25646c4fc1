"""One fault test: load, a fault in the middle of it, recovery, and all checks at the end."""

from __future__ import annotations

import asyncio
import itertools
import random
import time
from types import TracebackType
from typing import Self

from tests.acceptance.seatline import Client, add_admin
from tests.acceptance.test_registration import students_of
from tests.faults import checks
from tests.faults.load import CAPACITY_MAX, CAPACITY_MIN, Load
from tests.faults.report import RowReport
from tests.faults.stand import Stand
from tests.sample_campus import PostgresWorld

SECTIONS = 20
STUDENTS = 400
STEADY_S = 2.0
TOKEN_TTL_S = 4 * 3600
"""Longer than any row, also one that moves the clock by an hour."""

RECOVERY_MAX_S = 30.0
NO_LIMIT = 999
"""Credits: nothing but seats may keep a student out, so that the checker may be strict."""


class Row:
    """Use as ``async with``: the load runs meanwhile, and leaving checks everything.

    Args:
        report: is filled in.
        stand: what the fault is tried on.
        seed: of the load.
        is_timely: whether every answer must come by its deadline even during this fault.
        sections: how many take part.
    """

    def __init__(
        self, report: RowReport, stand: Stand, *, seed: int, is_timely: bool = True, sections: int = SECTIONS
    ) -> None:
        self.report = report
        self.stand = stand
        self._random = random.Random(seed)
        self._seed = seed
        self._deadline_s = 6.0 if is_timely else None
        self._section_count = sections
        self._starts: dict[int, int] = {}
        self._injected_at = 0.0
        self.healed_at = 0.0
        self.load: Load
        self.campus: PostgresWorld
        self.client: Client

    async def __aenter__(self) -> Self:
        self.campus = await PostgresWorld.create(self.stand.database_url)
        await self._make_sections(self._section_count)
        students = await students_of(self.campus, STUDENTS, credit_limit=NO_LIMIT)
        self.client = self.stand.seatline.client(TOKEN_TTL_S)
        self.load = Load(
            self.client,
            students,
            list(self._starts),
            await add_admin(self.stand.database_url),
            seed=self._seed,
            deadline_s=self._deadline_s,
        )
        self.load.start()
        try:
            await self.answers(1)
            await self.steady()
        except BaseException:
            await self._stop()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is not None:
            self.report.notes.append(f"failed: {error!r:.300}")
            await self._stop()
            return
        await self._finish()

    @property
    def sections(self) -> list[int]:
        """Of the load."""
        return list(self._starts)

    def injects(self, what: str) -> None:
        """Say what is done, right before it is done."""
        if not self._injected_at:
            self._injected_at = time.monotonic()
        self.report.injected.append(what)
        print(f"  injected: {what}")

    def note(self, what: str) -> None:
        """Something else that was measured."""
        self.report.notes.append(what)
        print(f"  {what}")

    def healed(self) -> None:
        """The fault is over: from here the time to recover counts."""
        self.healed_at = time.monotonic()

    async def steady(self, seconds: float = STEADY_S) -> None:
        """Let the load run on."""
        await asyncio.sleep(seconds)

    async def answers(self, count: int, within_s: float = RECOVERY_MAX_S) -> None:
        """Wait for so many definite answers more."""
        wanted = len(self.load.served) + count
        async with asyncio.timeout(within_s):
            while len(self.load.served) < wanted:
                await asyncio.sleep(0.02)

    async def recovers(self, within_s: float = RECOVERY_MAX_S) -> float:
        """Wait until every section has answered a request since the fault was over.

        Returns:
            how long that took; the report keeps the longest.
        """
        async with asyncio.timeout(within_s):
            while len(firsts := self.first_answers(self.healed_at)) < len(self._starts):
                await asyncio.sleep(0.02)
        recovery_s = max(firsts.values()) - self.healed_at
        self.report.recovery_s = max(recovery_s, self.report.recovery_s or 0.0)
        return recovery_s

    def first_answers(self, since: float) -> dict[int, float]:
        """When each section first answered after some time."""
        firsts: dict[int, float] = {}
        for one in self.load.served:
            if one.answered_at > since:
                firsts[one.section_id] = min(one.answered_at, firsts.get(one.section_id, one.answered_at))
        return firsts

    def waits_s(self, since: float) -> list[float]:
        """Of each section the longest time without an answer since some moment."""
        times: dict[int, list[float]] = {one: [since] for one in self._starts}
        for one in sorted(self.load.served, key=lambda served: served.answered_at):
            if one.answered_at >= since and one.section_id in times:
                times[one.section_id].append(one.answered_at)
        return [max((b - a for a, b in itertools.pairwise(of_one)), default=0.0) for of_one in times.values()]

    def longest_pause_s(self) -> float:
        """The longest time without any definite answer, from the first fault on."""
        times = sorted(one.answered_at for one in self.load.served)
        times = [self._injected_at or times[0], *(one for one in times if one >= self._injected_at)]
        return max((b - a for a, b in itertools.pairwise(times)), default=0.0)

    async def add_sections(self, count: int) -> list[int]:
        """Sections that nobody has asked for yet, for the load to ask for from now on."""
        added = await self._make_sections(count)
        self.load.sections = list(self._starts)
        return added

    async def _make_sections(self, count: int) -> list[int]:
        made = []
        for _ in range(count):
            seats = self._random.randint(CAPACITY_MIN, CAPACITY_MAX)
            section_id = await self.campus.add_section(seats)
            self._starts[section_id] = seats
            made.append(section_id)
        return made

    async def conclude(self) -> checks.Findings:
        """Stop the load once it has all its answers, wait until the sections are quiet, and compare."""
        await self.load.stop()
        await self.client.__aexit__(None, None, None)
        self.campus.connection.terminate()  # a fault may have ended it
        counts = self.load.counts
        self.report.requests, self.report.acknowledged = counts.requests, counts.acknowledged
        self.report.unknown, self.report.answers = counts.unknown, dict(counts.by_code)
        await checks.settle(self.stand.database_url)
        return await checks.examine(self.stand.database_url, self.load.recorder.by_section(), self._starts)

    async def _stop(self) -> None:
        await self.load.stop(patience_s=2.0)
        await self.client.__aexit__(None, None, None)
        await self.campus.close()

    async def _finish(self) -> None:
        report, counts = self.report, self.load.counts
        await self.steady()
        found = await self.conclude()
        report.pause_s = self.longest_pause_s()
        report.history = (
            f"{found.operations:,} operations on {found.sections} sections: {len(found.lost)} lost, "
            f"{len(found.doubled)} doubled, {len(found.impossible)} sections not linearizable"
        )
        print(f"  {report.requests:,} requests, {report.acknowledged:,} acknowledged, {report.unknown} unknown")
        print(f"  answered meanwhile: {report.answers or 'nothing but definite answers'}")
        print(f"  longest pause {report.pause_s:.2f} s, recovery {report.recovery_s or 0:.2f} s")
        print(f"  {report.history}")
        assert not found.lost, found.lost[:10]
        assert not found.doubled, found.doubled[:10]
        assert not found.impossible, found.impossible[0]
        assert not counts.odd, counts.odd[:10]
        assert not counts.late, f"answers later than their deadline: {sorted(counts.late)[-5:]}"
        report.verify = await checks.verify(self.stand.seatline)
        print(f"  verify: {report.verify}")
        report.passed = True
