"""``seatline bench scale``: more sections and students; activation, memory and the first request of a large campus."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Sequence
from statistics import median
from typing import Annotated, Any, NamedTuple

import typer

from bench.contestants.contestant import Contestant, same_host, start_seatline
from bench.contestants.process_usage import tree_memory_bytes
from bench.contestants.sandbox import Sandbox, open_sandbox
from bench.demand.bench_term import BenchTerm, TokenBook, fill_term, read_term
from bench.demand.draw import SLOTS, Ask, Demand, pairs_of
from bench.demand.workloads import ENROLLMENTS
from bench.load.generator import LoadGenerator
from bench.measuring.options import Connections, NoPeers, Options, ResultAsJson, Rounds, Seconds, Seed
from bench.measuring.rounds import RoundRow, measure, verify_contestant
from bench.report.results import keep
from bench.report.tables import show_round, show_rows, show_verified
from cluster.cli.common import Exit, print_json, run_async
from cluster.cli.progress import progress_bars
from cluster.clients.http import AsyncConnection, post
from persistence.imports.report import ImportProgress

ACTOR = "ray::SectionAct"
TOUCH_TIMEOUT_S = 120.0


class Size(NamedTuple):
    """A size of the campus. ``students`` is a minimum: the load may need more."""

    name: str
    sections: int
    students: int


SIZES = (
    Size("base", 1_000, 20_000),
    Size("twice the students", 1_000, 40_000),
    Size("twice the sections", 2_000, 20_000),
)


def scale(
    sections: Annotated[int, typer.Option(min=1_000, max=20_000, help="Of the largest catalogue.")] = 10_000,
    students: Annotated[int, typer.Option(min=1_000, help="Students of the largest.")] = 50_000,
    peers: NoPeers = "none",
    seconds: Seconds = 3.0,
    rounds: Rounds = 3,
    connections: Connections = 256,
    rate_max: Annotated[int, typer.Option(min=100, help="Requests a second to prepare for.")] = 12_000,
    seed: Seed = 1,
    as_json: ResultAsJson = False,
) -> None:
    """Throughput as sections and students double; activation of all sections and memory for a whole university.

    Example:

        seatline bench scale --sections 10000 --students 50000
    """
    del peers
    options = Options(seconds, rounds, connections, SIZES[0].sections, 1.0, rate_max, seed)
    finish(run_async(measure_scale(sections, students, options)), as_json=as_json)


async def measure_scale(largest: int, students: int, options: Options) -> dict[str, Any]:
    """Measure every size with a Seatline of its own, in turn."""
    sizes = (*SIZES, Size("largest", largest, students))
    rows: list[RoundRow] = []
    async with open_sandbox() as sandbox, contextlib.AsyncExitStack() as stack:
        with progress_bars() as progress:
            runs = [await _start(sandbox, stack, size, options, progress) for size in sizes]
            for turn in range(options.rounds):
                for run in runs[turn % len(runs) :] + runs[: turn % len(runs)]:
                    requests = run.requests(turn)
                    row = await measure(sandbox, run.contestant, requests, options)
                    rows.append({"workload": "uniform", "round": turn, "size": run.size.name, **row})
                    show_round(rows[-1])
            verified = {run.size.name: await verify_contestant(run.contestant) for run in runs}
    result = {
        "options": options.as_json(), "rows": rows, "sizes": [_summary(run, rows) for run in runs], "verify": verified,
    }  # fmt: skip
    keep("scale", result, seeds={"scale": options.seed})
    return result


class Run:
    """One size: its Seatline, its requests, and the figures of its start."""

    def __init__(self, size: Size, demand: list[list[Ask]], students: int, term: BenchTerm, tokens: TokenBook) -> None:
        self.size = size
        self.students = students
        self.seen: dict[str, Any] = {}
        self._demand = demand
        self._term = term
        self._tokens = tokens
        self.contestant: Contestant

    def requests(self, turn: int) -> list[bytes]:
        """The requests of a round; those of the last round ask once for every section."""
        return [
            post(
                same_host(0), ENROLLMENTS, self._tokens.token(student), f"scale-{turn}-{number}",
                b'{"section_id":%d}' % self._term.section_ids[section],
            )
            for number, (student, section) in enumerate(pairs_of(self._demand[turn], self.students))
        ]  # fmt: skip


async def _start(
    sandbox: Sandbox, stack: contextlib.AsyncExitStack, size: Size, options: Options, progress: ImportProgress
) -> Run:
    demand = Demand(options.seed)
    asks = [demand.draw(range(size.sections), options.per_round) for _ in range(options.rounds)]
    asks.append(_each_once(demand, size.sections))
    students = max(size.students, demand.students)
    name = f"scale_{size.name.replace(' ', '_')}"
    seats = [options.per_round * options.rounds * SLOTS // size.sections + 100] * size.sections
    await sandbox.make_template(name, lambda url: fill_term(url, seats, students, progress))
    url = sandbox.database_url(name)
    term = await read_term(url)
    run = Run(size, asks, students, term, TokenBook(sandbox.jwt_secret, term.students))
    started = time.perf_counter()
    run.contestant = await stack.enter_async_context(start_seatline(sandbox, url, size.name))
    run.seen["start_s"] = round(time.perf_counter() - started, 2)
    await _first_touch(run, options.connections)
    return run


def _each_once(demand: Demand, sections: int) -> list[Ask]:
    return [ask for section in range(sections) for ask in demand.draw([section], 1)]


async def _first_touch(run: Run, connections: int) -> None:
    """Send the first request after the start, then one for every section, so that all are activated."""
    before = _actor_memory(run)
    first, *rest = run.requests(len(run._demand) - 1)
    connection = AsyncConnection(run.contestant.target)
    started = time.perf_counter()
    await connection.exchange(first, 30.0)
    run.seen["first_request_ms"] = round((time.perf_counter() - started) * 1000, 1)
    connection.close()
    load = LoadGenerator(run.contestant.target, rest, connections=connections, warmup_s=0, seconds=TOUCH_TIMEOUT_S)
    measured = await load.run()
    after = _actor_memory(run)
    run.seen["all_sections_active_s"] = round(measured.seconds, 2)
    run.seen["activated"] = measured.outcomes["enrolled"] + 1
    run.seen["actor_processes"] = after["processes"]
    run.seen["actor_rss_mb"] = round(after["rss"] / 1e6, 1)
    run.seen["actor_pss_mb"] = round(after["pss"] / 1e6, 1)
    run.seen["grown_kb_per_section"] = round((after["uss"] - before["uss"]) / run.size.sections / 1000, 2)


def _actor_memory(run: Run) -> dict[str, int]:
    return tree_memory_bytes([process.pid for process in run.contestant.processes], ACTOR)


def _summary(run: Run, rows: Sequence[RoundRow]) -> dict[str, Any]:
    own = {row["round"]: row["enrolled_per_s"] for row in rows if row["size"] == run.size.name}
    base = {row["round"]: row["enrolled_per_s"] for row in rows if row["size"] == SIZES[0].name}
    return {
        "size": run.size.name,
        "sections": run.size.sections,
        "students": run.students,
        "per_s": round(median(own.values()), 1),
        "of_base": round(median(rate / base[turn] for turn, rate in own.items() if base.get(turn)), 3),
        **run.seen,
    }


def finish(result: dict[str, Any], *, as_json: bool) -> None:
    """Print the result; exit 5 if an invariant was broken."""
    if as_json:
        print_json(result)
    else:
        sizes = result["sizes"]
        shown = [{name.replace("_", " "): value for name, value in one.items()} for one in sizes]
        show_rows("Larger campuses", list(shown[0]), [list(one.values()) for one in shown])
        show_verified(result["verify"])
    if not all(one["ok"] for one in result["verify"].values()):
        raise typer.Exit(int(Exit.BROKEN_INVARIANT))
