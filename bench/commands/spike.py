"""``seatline bench spike``: the rush when registration opens; `bench/demand/rush.py` makes its requests."""

from __future__ import annotations

import contextlib
from dataclasses import replace
from statistics import median
from typing import Annotated, Any

import typer

from bench.contestants.contestant import SEATLINE, Contestant, start_peer, start_seatline
from bench.contestants.sandbox import Sandbox, open_sandbox
from bench.demand.bench_term import TokenBook, fill_term, read_term
from bench.demand.rush import Rush
from bench.measuring.options import (
    CONNECTIONS_MAX,
    Connections,
    Options,
    Peers,
    ResultAsJson,
    Rounds,
    Seconds,
    Seed,
    contestants,
)
from bench.measuring.rounds import RoundRow, measure, verify_contestant
from bench.peers.registry import PEERS
from bench.report.results import keep
from bench.report.tables import show_rows, show_verified
from cluster.cli.common import Exit, err, print_json, run_async
from cluster.cli.progress import progress_bars

TEMPLATE = "bench_spike"


def spike(
    peers: Peers = "stored_function,skip_locked,redis_lua,conventional",
    students: Annotated[int, typer.Option(min=100, help="In each round, all at the same time.")] = 5_000,
    seconds: Seconds = 120.0,
    rounds: Rounds = 3,
    connections: Connections = CONNECTIONS_MAX,
    seed: Seed = 1,
    as_json: ResultAsJson = False,
) -> None:
    """Many students at one time, seats for 70 % of them: time until all are answered, latency and fairness.

    --seconds is the longest time to wait for the answers.

    Example:

        seatline bench spike --students 10000 --peers stored_function
    """
    names = [one for one in contestants(peers) if one not in {"echo", "ray_per_request"}]
    finish(run_async(measure_spike(names, students, Options(seconds, rounds, connections, seed=seed))), as_json=as_json)


async def measure_spike(names: list[str], students: int, options: Options) -> dict[str, Any]:
    """Run the same rush on each contestant in turn."""
    rush = Rush(students, options.rounds, options.seed)
    rows: list[RoundRow] = []
    async with open_sandbox() as sandbox, contextlib.AsyncExitStack() as stack:
        with progress_bars() as progress:
            await sandbox.make_template(
                TEMPLATE, lambda url: fill_term(url, rush.capacities(), rush.students * rush.rounds, progress)
            )
            term = await read_term(sandbox.database_url(TEMPLATE))
            tokens = TokenBook(sandbox.jwt_secret, term.students)
            running = [await stack.enter_async_context(await _start(sandbox, name)) for name in names]
            for turn in range(rush.rounds):
                first = turn % len(running)
                for done, contestant in enumerate(running[first:] + running[:first]):
                    progress("spikes", turn * len(running) + done, rush.rounds * len(running))
                    source = rush.source(turn, term, tokens, contestant.target)
                    at_once = replace(options, warmup_s=0.0)
                    row = await measure(sandbox, contestant, source, at_once, arrivals=[0.0] * students)
                    rows.append({"round": turn, **row, "drain_s": row["seconds"], "fairness": source.fairness()})
            progress("spikes", 1, 1)
        err.print("verifying ...")
        verified = {one.name: await verify_contestant(one) for one in running if one.keeps_counts}
    result = {
        "options": {**options.as_json(), "students": students}, "rows": rows, "summary": _summary(rows),
        "verify": verified,
    }  # fmt: skip
    keep("spike", result, seeds={"spike": options.seed})
    return result


async def _start(sandbox: Sandbox, name: str) -> contextlib.AbstractAsyncContextManager[Contestant]:
    url = await sandbox.clone(f"of_{name}", TEMPLATE)
    return start_seatline(sandbox, url) if name == SEATLINE else start_peer(sandbox, PEERS[name], url)


def _summary(rows: list[RoundRow]) -> list[dict[str, Any]]:
    found = []
    for name in dict.fromkeys(row["contestant"] for row in rows):
        own = [row for row in rows if row["contestant"] == name]
        found.append(
            {
                "contestant": name,
                "drain_s": round(median(row["drain_s"] for row in own), 3),
                "p50_ms": round(median(row["latency_ms"].get("p50", 0.0) for row in own), 1),
                "p99_ms": round(median(row["latency_ms"].get("p99", 0.0) for row in own), 1),
                "max_ms": round(max(row["latency_ms"].get("max", 0.0) for row in own), 1),
                "enrolled": own[0]["outcomes"].get("enrolled", 0),
                "waitlisted": own[0]["outcomes"].get("waitlisted", 0),
                "shed_or_failed": sum(row["shed"] + row["failed"] for row in own),
                "later_got_the_seat": round(median(row["fairness"]["later_got_the_seat"] for row in own), 4),
            }
        )
    return found


def finish(result: dict[str, Any], *, as_json: bool) -> None:
    """Print the result; exit 5 if an invariant was broken."""
    if as_json:
        print_json(result)
    else:
        summary = result["summary"]
        show_rows(
            f"{result['options']['students']:,} students at once",
            list(summary[0]),
            [list(one.values()) for one in summary],
        )
        show_verified(result["verify"])
    if not all(one["ok"] for one in result["verify"].values()):
        raise typer.Exit(int(Exit.BROKEN_INVARIANT))
