"""``seatline bench rebalance``: an actor joins, and a share of all sections moves to it under a steady load."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from typing import Annotated, Any

import typer

from allocator.model.commands import Enroll
from allocator.model.delivery import Envelope
from allocator.model.outcomes import Code
from allocator.model.section import SectionState
from bench.contestants.sandbox import Sandbox, open_sandbox
from bench.demand.bench_term import BenchTerm, fill_term, read_term
from bench.demand.draw import SLOTS, Demand, Pair, pairs_of
from bench.load.measured import histogram, percentiles_ms
from bench.measuring.options import NoPeers, ResultAsJson, Seed
from bench.report.results import keep
from bench.report.tables import show_rows, show_verified
from cluster.cli.common import Exit, print_json, report_step, run_async
from cluster.cli.progress import progress_bars
from cluster.config.secrets import ray_token_path
from cluster.config.settings import Placement, Settings
from cluster.gateway.directory import DirectoryView, moves, owner_in
from cluster.gateway.handover import hand_over
from cluster.gateway.ray_actors import create_section_actor
from cluster.processes import deployment
from cluster.processes.node import NodeConfig, OpenGateway
from persistence.verify import verify

ACTORS = ("sections-bench-0", "sections-bench-1", "sections-bench-2")
TAKE_AT_ONCE = 1_000


def rebalance(
    sections: Annotated[int, typer.Option(min=30, max=20_000, help="Active before the third actor joins.")] = 10_000,
    rate: Annotated[int, typer.Option(min=10, help="Enrolments a second, at any of the sections.")] = 300,
    seconds: Annotated[float, typer.Option(min=1.0, help="Of load before the move, and after it.")] = 10.0,
    peers: NoPeers = "none",
    seed: Seed = 1,
    as_json: ResultAsJson = False,
) -> None:
    """A third section actor joins two: how many sections move, how long it takes, how long requests wait meanwhile.

    The load comes through one gateway in this process, where the waits are measured.

    Example:

        seatline bench rebalance --sections 10000 --rate 300
    """
    del peers
    finish(run_async(measure_rebalance(sections, rate, seconds, seed)), as_json=as_json)


async def measure_rebalance(sections: int, rate: int, seconds: float, seed: int) -> dict[str, Any]:
    """Start services, a local Ray and two actors, then a third, under load."""
    demand = Demand(seed)
    asks = demand.draw(range(sections), int(rate * (2 * seconds + 60)))
    async with open_sandbox() as sandbox:
        with progress_bars() as progress:
            seats = [len(asks) * SLOTS // sections + 100] * sections
            await sandbox.make_template("rebalance", lambda url: fill_term(url, seats, demand.students, progress))
        url = sandbox.database_url("rebalance")
        term = await read_term(url)
        settings = Settings(home=sandbox.home / "rebalance", placement=Placement.AUTO)
        await deployment.start_local_ray(str(ray_token_path(settings)), report_step)
        try:
            load = GatewayLoad(term, pairs_of(asks, demand.students), rate)
            result = await _measure(sandbox, settings, url, load, seconds)
        finally:
            await deployment.stop_ray()
    result = {"options": {"sections": sections, "rate": rate, "seconds": seconds, "seed": seed}, **result}
    keep("rebalance", result, seeds={"rebalance": seed})
    return result


class GatewayLoad:
    """An open loop through a gateway: requests are sent when they are due, whether or not others are answered."""

    def __init__(self, term: BenchTerm, pairs: list[Pair], rate: int) -> None:
        self._term = term
        self._pairs = pairs
        self._rate = rate
        self._is_over = False
        self.waits: list[tuple[float, float]] = []
        """When a request was due, and how long its answer took, in seconds."""
        self.codes: Counter[str] = Counter()

    @property
    def section_ids(self) -> list[int]:
        """All sections of the term."""
        return self._term.section_ids

    async def run(self, opened: OpenGateway) -> None:
        """Send until stopped, and wait for the requests under way."""
        loop = asyncio.get_running_loop()
        started = loop.time()
        async with asyncio.TaskGroup() as under_way:
            for number, pair in enumerate(self._pairs):
                due = started + number / self._rate
                await asyncio.sleep(max(0.0, due - loop.time()))
                if self._is_over:
                    return
                under_way.create_task(self._ask(opened, number, pair, due))

    def stop(self) -> None:
        """Send nothing more."""
        self._is_over = True

    async def _ask(self, opened: OpenGateway, number: int, pair: Pair, due: float) -> None:
        section_id, student_id = self._term.section_ids[pair.section], self._term.students[pair.student].student_id
        reply = await opened.gateway.submit(Envelope(Enroll(section_id, student_id, True), f"move-{number}"))
        self.codes[reply.code.value] += 1
        self.waits.append((due, asyncio.get_running_loop().time() - due))

    def between(self, start: float, end: float) -> dict[str, float]:
        """Percentiles of the waits of requests that were due between two times, in milliseconds."""
        return percentiles_ms(histogram(wait for due, wait in self.waits if start <= due < end))


async def _measure(sandbox: Sandbox, settings: Settings, url: str, load: GatewayLoad, seconds: float) -> dict[str, Any]:
    two = DirectoryView(1, Placement.AUTO, ACTORS[:2])
    three = DirectoryView(2, Placement.AUTO, ACTORS)
    config = NodeConfig(settings, url, sandbox.redis_url(), sandbox.jwt_secret, two.pooled)
    handles = [await _start_actor(config, name) for name in two.pooled]
    opened = config.open_gateway()
    loop = asyncio.get_running_loop()
    try:
        activated_s = await _activate(opened, two, load.section_ids)
        loading = asyncio.create_task(load.run(opened))
        began = loop.time()
        await asyncio.sleep(seconds)
        starting_from = loop.time()
        handles.append(await _start_actor(config, ACTORS[2]))
        moving = moves(two, three, load.section_ids)
        by_owner: dict[str, dict[int, str]] = {}
        for section_id, new in moving.items():
            by_owner.setdefault(owner_in(two, section_id) or "", {})[section_id] = new
        moving_from = loop.time()
        opened.update_directory(three)
        done = await hand_over(by_owner, opened.actors.hand_over, opened.actors.take)
        moved_at = loop.time()
        await asyncio.sleep(seconds)
        ended = loop.time()
        load.stop()
        await loading

        async def memory() -> list[SectionState]:
            return [SectionState(*state) for handle in handles for state in await handle.snapshot.remote()]

        active = [len(await handle.active_sections.remote()) for handle in handles]
        findings = await verify(url, memory)
    finally:
        await opened.close()
    return {
        "activated_s": round(activated_s, 2),
        "actor_start_s": round(moving_from - starting_from, 2),
        "moved": len(moving),
        "share": round(len(moving) / len(load.section_ids), 3),
        "handed_over": done.handed,
        "taken": done.taken,
        "move_s": round(moved_at - moving_from, 2),
        "active": active,
        "wait_ms": {
            "before": load.between(began, starting_from),
            "while the actor starts": load.between(starting_from, moving_from),
            "while sections move": load.between(moving_from, moved_at),
            "after": load.between(moved_at, ended),
        },
        "outcomes": dict(load.codes),
        "not_enrolled": load.codes.total() - load.codes[Code.ENROLLED.value],
        "verify": {"ok": not findings, "findings": [f"{one.invariant}: {one.title}" for one in findings]},
    }


async def _start_actor(config: NodeConfig, name: str) -> Any:
    actor = create_section_actor(name, config.host_factory())
    await actor.ping.remote()
    return actor


async def _activate(opened: OpenGateway, view: DirectoryView, section_ids: list[int]) -> float:
    """Activate all sections on their actors; seconds that it took."""
    started = time.perf_counter()
    for name in view.pooled:
        mine = [section_id for section_id in section_ids if owner_in(view, section_id) == name]
        for start in range(0, len(mine), TAKE_AT_ONCE):
            await opened.actors.take(name, mine[start : start + TAKE_AT_ONCE])
    return time.perf_counter() - started


def finish(result: dict[str, Any], *, as_json: bool) -> None:
    """Print the result; exit 5 if an invariant was broken."""
    if as_json:
        print_json(result)
    else:
        names = ("moved", "share", "handed_over", "taken", "move_s", "activated_s", "actor_start_s", "not_enrolled")
        shown = [name.replace("_", " ") for name in names]
        show_rows("A third actor joins", shown, [[result[name] for name in names]])
        waits = result["wait_ms"]
        points = list(waits["before"])
        rows: list[list[object]] = [[name, *(one.get(point) for point in points)] for name, one in waits.items()]
        show_rows("Waits in ms of the requests that were due", ["when", *points], rows)
        show_verified({"rebalance": result["verify"]})
    if not result["verify"]["ok"]:
        raise typer.Exit(int(Exit.BROKEN_INVARIANT))
