"""Minutes or hours of load with one random fault after the other, and every check at the end of every era.

``python -m tests.faults.soak --minutes 15 --seed 7``. The seed decides faults and load; what the machine makes of them
differs from run to run. Sections and students are new in every era, so that no history becomes too long to check; an
era is checked while the next one runs.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import itertools
import random
import shutil
import sys
import tempfile
import time
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import orjson

from cluster.embedded import EmbeddedServices
from tests.faults import checks
from tests.faults.nodes import free_port
from tests.faults.random_faults import FAULTS, Fault, title
from tests.faults.report import DIRECTORY, RowReport, machine
from tests.faults.row import Row
from tests.faults.stand import Stand, open_stand
from tests.faults.takeover import ACTORS

ERA_S = 45.0
RECOVERY_MAX_S = 60.0
QUIET_S = (0.5, 3.0)


class Longest(NamedTuple):
    """A time and the fault in which it was so long."""

    seconds: float
    fault: str

    def __str__(self) -> str:
        return f"{self.seconds:.1f} s ({self.fault})"


NEVER = Longest(0.0, "never")


@dataclass
class SoakReport:
    """What came of it.

    Args:
        unavailable: the longest time without any definite answer.
        section_silent: the longest time in which some section gave no definite answer.
        recovery: the longest time from the end of a fault until every section had answered.
    """

    minutes: float
    seed: int
    faults: Counter[str] = field(default_factory=Counter)
    eras: int = 0
    sections: int = 0
    requests: int = 0
    acknowledged: int = 0
    unknown: int = 0
    answers: Counter[str] = field(default_factory=Counter)
    lost: list[str] = field(default_factory=list)
    doubled: list[str] = field(default_factory=list)
    impossible: list[str] = field(default_factory=list)
    odd: list[str] = field(default_factory=list)
    not_recovered: list[str] = field(default_factory=list)
    unavailable: Longest = NEVER
    section_silent: Longest = NEVER
    recovery: Longest = NEVER
    verify: str = "not run"
    load_per_s: float = 0.0

    @property
    def wrong(self) -> list[str]:
        """All that should not be."""
        return [*self.lost, *self.doubled, *self.impossible, *self.odd, *self.not_recovered]

    @property
    def passed(self) -> bool:
        """Whether nothing is wrong."""
        return not self.wrong and self.verify.endswith("memory compared")

    def lines(self) -> list[str]:
        """For a person to read."""
        verdict = "passed" if self.passed else "BROKEN"
        return [
            f"soak of {self.minutes:g} minutes with seed {self.seed}: {verdict}; {machine()}",
            f"  load held                      {self.load_per_s:,.0f} acknowledged operations a second",
            f"  faults survived                {self.faults.total()}, of {len(self.faults)} kinds",
            f"  requests                       {self.requests:,}",
            f"  acknowledged                   {self.acknowledged:,}",
            f"  without an answer at the end   {self.unknown}",
            f"  lost                           {len(self.lost)}",
            f"  doubled                        {len(self.doubled)}",
            f"  not linearizable               {len(self.impossible)} of {self.sections} sections",
            f"  verify                         {self.verify}",
            f"  longest without any answer     {self.unavailable}",
            f"  longest silence of a section   {self.section_silent}",
            f"  longest recovery after a fault {self.recovery}",
            *(f"  {text}" for text in self.wrong[:20]),
        ]


class Soak:
    """The run: eras of load, faults, checks.

    Args:
        stand: what is tried.
        report: is filled in.
    """

    def __init__(self, stand: Stand, report: SoakReport) -> None:
        self._stand = stand
        self._report = report
        self._random = random.Random(report.seed)
        self._checks: list[asyncio.Task[None]] = []
        self._started = time.monotonic()

    async def run(self) -> None:
        """Until the time is over."""
        end = self._started + self._report.minutes * 60
        faults = self._faults()
        while time.monotonic() < end:
            async with self._era() as era:
                era_end = min(end, time.monotonic() + ERA_S)
                while time.monotonic() < era_end:
                    await self._one_fault(next(faults), era)
        await asyncio.gather(*self._checks)
        self._report.load_per_s = self._report.acknowledged / (end - self._started)
        try:
            self._report.verify = await checks.verify(self._stand.seatline)
        except AssertionError as error:
            self._report.verify = str(error)

    def _faults(self) -> Iterator[Fault]:
        """All in random order, again and again."""
        while True:
            yield from self._random.sample(FAULTS, len(FAULTS))

    @contextlib.asynccontextmanager
    async def _era(self) -> AsyncIterator[Row]:
        """Load on new sections; what clients saw is checked while the next era runs."""
        self._report.eras += 1
        era = Row(RowReport(0, "soak"), self._stand, seed=self._random.randrange(1 << 30), is_timely=False)
        async with asyncio.timeout(RECOVERY_MAX_S):
            await era.__aenter__()
        yield era
        self._checks.append(asyncio.create_task(self._check(era)))

    async def _one_fault(self, fault: Fault, era: Row) -> None:
        report, started = self._report, time.monotonic()
        report.faults[title(fault)] += 1
        with contextlib.suppress(TimeoutError):  # a trap that was not stepped into in time
            await fault(self._stand, self._random)
        self._stand.postgres.heal()
        self._stand.redis.heal()
        era.healed()
        try:
            recovery_s = await era.recovers(RECOVERY_MAX_S)
            await self._processes_are_back()
        except TimeoutError:
            report.not_recovered.append(f"{title(fault)}: not recovered after {RECOVERY_MAX_S:.0f} s")
            recovery_s = RECOVERY_MAX_S
        await era.steady(self._random.uniform(*QUIET_S))
        silent_s, pause_s = max(era.waits_s(started)), longest_gap_s(era, started)
        report.unavailable = max(report.unavailable, Longest(pause_s, title(fault)))
        report.section_silent = max(report.section_silent, Longest(silent_s, title(fault)))
        report.recovery = max(report.recovery, Longest(recovery_s, title(fault)))
        self._say(f"{title(fault):36} silent {pause_s:5.1f} s, a section {silent_s:5.1f} s")

    async def _processes_are_back(self) -> None:
        async with asyncio.timeout(RECOVERY_MAX_S):
            while len(self._stand.actor_pids()) < len(ACTORS) or not self._stand.api_pids():
                await asyncio.sleep(0.1)

    async def _check(self, era: Row) -> None:
        found, report, counts = await era.conclude(), self._report, era.load.counts
        report.sections += found.sections
        report.requests += counts.requests
        report.acknowledged += counts.acknowledged
        report.unknown += counts.unknown
        report.answers.update(counts.by_code)
        report.lost += found.lost
        report.doubled += found.doubled
        report.impossible += found.impossible
        report.odd += counts.odd
        wrong = len(found.lost) + len(found.doubled) + len(found.impossible)
        self._say(f"era of {found.operations:,} operations checked: {wrong} wrong; {report.acknowledged:,} in all")

    def _say(self, text: str) -> None:
        print(f"{time.monotonic() - self._started:7.1f} s  {text}", file=sys.stderr, flush=True)


def longest_gap_s(era: Row, since: float) -> float:
    """The longest time without any definite answer since some moment."""
    times = [since, *sorted(one.answered_at for one in era.load.served if one.answered_at > since)]
    return max((b - a for a, b in itertools.pairwise(times)), default=0.0)


@contextlib.contextmanager
def short_directory() -> Iterator[Path]:
    """A directory with a short path, for sockets live in it; gone at the end."""
    path = Path(tempfile.mkdtemp(prefix="sl-"))
    path.chmod(0o711)  # as root, Postgres runs as another user and must get through
    try:
        yield path
    finally:
        shutil.rmtree(path, ignore_errors=True)


async def soak(minutes: float, seed: int) -> SoakReport:
    """Run one on services of its own, which leave nothing behind."""
    report = SoakReport(minutes, seed)
    with short_directory() as directory:
        async with (
            EmbeddedServices(directory / "home") as services,
            open_stand(services, directory, "soak", PORT=str(free_port())) as stand,
        ):
            await Soak(stand, report).run()
    return report


def main() -> int:
    """Exit code 0 if all is well."""
    arguments = argparse.ArgumentParser(description="Random faults under steady load, and every check.")
    arguments.add_argument("--minutes", type=float, default=15.0)
    arguments.add_argument("--seed", type=int, default=None, help="of faults and load; chosen if not given")
    chosen = arguments.parse_args()
    seed = random.SystemRandom().randrange(1 << 30) if chosen.seed is None else chosen.seed
    print(f"soak of {chosen.minutes:g} minutes, seed {seed}", file=sys.stderr)
    report = asyncio.run(soak(chosen.minutes, seed))
    DIRECTORY.mkdir(exist_ok=True)
    text = "\n".join(report.lines())
    (DIRECTORY / "soak-report.txt").write_text(text + "\n", encoding="utf-8")
    (DIRECTORY / "soak-report.json").write_bytes(orjson.dumps(vars(report), default=_plain, option=orjson.OPT_INDENT_2))
    print(text)
    return 0 if report.passed else 1


def _plain(value: object) -> object:
    return dict(value) if isinstance(value, Counter) else str(value)


if __name__ == "__main__":
    sys.exit(main())
