"""Random faults under steady load, for as long as one likes: ``python -m tests.faults.soak --minutes 15``."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import os
import random
import shutil
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path

import orjson
import uvloop
from rich.console import Console
from rich.table import Table

from cluster.embedded import EmbeddedServices
from tests.faults import moments
from tests.faults.report import DIRECTORY, RowReport, machine
from tests.faults.row import Row
from tests.faults.stand import Stand, frozen, open_stand
from tests.faults.tcp_proxy import Link, Trap

SPELL_S = 60.0
SPRING_MAX_S = 10.0
REST_S = (1.0, 4.0)
BROKEN_MAX = 3

console = Console(stderr=True, highlight=False)

Fault = Callable[["Breaker"], Awaitable[None]]


class Breaker:
    """The faults of the soak: each breaks something, mends it, and returns."""

    def __init__(self, stand: Stand, chance: random.Random) -> None:
        self.stand = stand
        self.chance = chance

    async def kill_a_section_actor(self) -> None:
        os.kill(self.chance.choice(await self._pids(self.stand.actor_pids)), signal.SIGKILL)

    async def freeze_a_section_actor(self) -> None:
        with frozen(self.chance.choice(await self._pids(self.stand.actor_pids))):
            await asyncio.sleep(self.chance.uniform(0.5, 7.0))

    async def kill_the_api_server(self) -> None:
        os.kill((await self._pids(self.stand.api_pids))[0], signal.SIGKILL)

    async def kill_an_actor_before_commit(self) -> None:
        await self._spring(moments.before_commit(moments.killing(self.stand, then_lost=True)))

    async def kill_an_actor_after_commit(self) -> None:
        await self._spring(moments.after_commit(self.stand, moments.killing(self.stand, then_lost=True)))

    async def lose_the_reply_to_a_commit(self) -> None:
        async def mute(link: Link) -> None:
            link.is_muted = True

        await self._spring(moments.after_commit(self.stand, mute))

    async def reset_connections_to_postgres(self) -> None:
        for _ in range(self.chance.randint(1, 10)):
            self.stand.postgres.reset_all()
            await asyncio.sleep(0.2)

    async def silence_postgres(self) -> None:
        self.stand.postgres.black_hole()
        await asyncio.sleep(self.chance.uniform(0.5, 6.0))
        self.stand.postgres.heal()

    async def slow_postgres(self) -> None:
        self.stand.postgres.delay_s = 0.05
        await asyncio.sleep(4.0)
        self.stand.postgres.heal()

    async def stop_postgres_at_once(self) -> None:
        old = self.stand.services.pids["postgres"]
        os.kill(old, signal.SIGQUIT)
        async with asyncio.timeout(30):
            while self.stand.services.pids["postgres"] == old:
                await asyncio.sleep(0.05)

    async def kill_redis(self) -> None:
        os.kill(self.stand.services.pids["valkey"], signal.SIGKILL)

    async def slow_redis(self) -> None:
        self.stand.redis.delay_s = 2.0
        await asyncio.sleep(5.0)
        self.stand.redis.heal()

    async def flush_redis(self) -> None:
        await self.stand.flush_redis()

    async def _pids(self, alive: Callable[[], list[int]]) -> list[int]:
        """Processes of a kind, once there is one: the fault before may have ended the last."""
        async with asyncio.timeout(30):
            while not (pids := alive()):
                await asyncio.sleep(0.05)
        return pids

    async def _spring(self, trap: Trap) -> None:
        self.stand.postgres.trap = trap
        with contextlib.suppress(TimeoutError):  # with another fault at work there may be no commit to meet
            await asyncio.wait_for(trap.sprung.wait(), SPRING_MAX_S)


FAULTS: tuple[Fault, ...] = (
    Breaker.kill_a_section_actor,
    Breaker.freeze_a_section_actor,
    Breaker.kill_the_api_server,
    Breaker.kill_an_actor_before_commit,
    Breaker.kill_an_actor_after_commit,
    Breaker.lose_the_reply_to_a_commit,
    Breaker.reset_connections_to_postgres,
    Breaker.silence_postgres,
    Breaker.slow_postgres,
    Breaker.stop_postgres_at_once,
    Breaker.kill_redis,
    Breaker.slow_redis,
    Breaker.flush_redis,
)


@dataclass
class Soak:
    """What came of it. A spell is a minute of load on fresh sections, at whose end everything is checked."""

    seed: int
    load_s: float = 0.0
    spells: int = 0
    broken: list[str] = field(default_factory=list)
    faults: Counter[str] = field(default_factory=Counter)
    requests: int = 0
    acknowledged: int = 0
    unknown: int = 0
    pauses_s: list[float] = field(default_factory=list)
    recoveries_s: list[float] = field(default_factory=list)
    _began: float = 0.0

    async def spell(self, stand: Stand, chance: random.Random) -> None:
        """One minute."""
        report = RowReport(self.spells, "soak")
        seed = chance.randrange(2**32)
        started = self._began = time.monotonic()
        try:
            async with Row(report, stand, seed=seed, is_timely=False) as row:
                while time.monotonic() - started < SPELL_S:
                    await self._strike(row, Breaker(stand, chance))
                    await asyncio.sleep(chance.uniform(*REST_S))
                self.load_s += time.monotonic() - started
        except Exception as error:  # noqa: BLE001  (whatever it is, the report must say so, and the soak go on)
            self.broken.append(f"spell {self.spells + 1} (seed {seed}): {type(error).__name__}: {error}"[:4000])
            console.print(f"\n{self.broken[-1]}", markup=False)
        self.spells += 1
        self.requests += report.requests
        self.acknowledged += report.acknowledged
        self.unknown += report.unknown
        self.pauses_s.append(report.pause_s or 0.0)

    async def _strike(self, row: Row, breaker: Breaker) -> None:
        """One fault, sometimes two at once; then all sections must answer again."""
        chosen = breaker.chance.sample(FAULTS, 2 if breaker.chance.random() < 0.2 else 1)
        names = " and ".join(one.__name__.replace("_", " ") for one in chosen)
        console.print(f"  {self.load_s + time.monotonic() - self._began:6.0f} s  {names}", end="")
        await asyncio.gather(*(one(breaker) for one in chosen))
        breaker.stand.postgres.heal()
        breaker.stand.redis.heal()
        row.healed()
        recovery_s = await row.recovers()
        self.recoveries_s.append(recovery_s)
        self.faults.update(one.__name__.replace("_", " ") for one in chosen)
        console.print(
            f"  {self.load_s + time.monotonic() - self._began:6.0f} s  {names}: {recovery_s:.1f} s to recover"
        )

    def show(self) -> None:
        """For the terminal."""
        table = Table(title="Soak", title_justify="left", show_header=False)
        recoveries = sorted(self.recoveries_s) or [0.0]
        faults = ", ".join(f"{count} x {name}" for name, count in self.faults.most_common())
        table.add_row("seed", str(self.seed))
        table.add_row("under load", f"{self.load_s / 60:.1f} min in {self.spells} spells")
        table.add_row("load held", f"{self.acknowledged / max(self.load_s, 1):.0f} definite answers a second")
        table.add_row("faults survived", f"{sum(self.faults.values())}: {faults}")
        table.add_row("requests", f"{self.requests:,}, {self.acknowledged:,} acknowledged, {self.unknown} unknown")
        table.add_row("lost, doubled, broken", "0, 0, 0" if not self.broken else "; ".join(self.broken))
        table.add_row("longest unavailability", f"{max(self.pauses_s, default=0.0):.1f} s without any definite answer")
        table.add_row(
            "all sections back", f"{recoveries[len(recoveries) // 2]:.1f} s median, {recoveries[-1]:.1f} s at most"
        )
        Console(width=140).print(table)

    def write(self) -> Path:
        """Everything, as JSON."""
        DIRECTORY.mkdir(exist_ok=True)
        path = DIRECTORY / "soak-report.json"
        known = {name: value for name, value in vars(self).items() if not name.startswith("_")}
        path.write_bytes(orjson.dumps({"machine": machine(), **known}, option=orjson.OPT_INDENT_2))
        return path


async def soak(minutes: float, seed: int, directory: Path) -> Soak:
    """Spells until there were so many minutes under load."""
    chance = random.Random(seed)
    result = Soak(seed)
    async with EmbeddedServices(directory / "home") as services, open_stand(services, directory, "soak") as stand:
        while result.load_s < minutes * 60 and len(result.broken) < BROKEN_MAX:
            console.print(f"spell {result.spells + 1}, {result.load_s / 60:.1f} of {minutes:g} min, seed {seed}")
            await result.spell(stand, chance)
    return result


def main() -> int:
    """The command."""
    parser = argparse.ArgumentParser(prog="make soak", description=__doc__)
    parser.add_argument("--minutes", type=float, default=15.0, help="how long to hold the load (15)")
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(2**32), help="of all chance")
    options = parser.parse_args()
    directory = Path(tempfile.mkdtemp(prefix="sl-"))
    directory.chmod(0o711)  # as root, Postgres runs as another user and must get through
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        result = runner.run(soak(options.minutes, options.seed, directory))
    if result.broken:
        console.print(f"the logs are kept in {directory}")
    else:
        shutil.rmtree(directory, ignore_errors=True)
    result.show()
    console.print(f"written to {result.write()}")
    return 1 if result.broken else 0


if __name__ == "__main__":
    sys.exit(main())
