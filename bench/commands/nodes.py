"""``seatline bench nodes``: the same load on a Seatline of one, two and three Ray nodes of this machine."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Mapping, Sequence
from statistics import median
from typing import Annotated, Any

import typer

from bench.contestants.contestant import SEATLINE, Contestant, free_port, run_command, start_seatline
from bench.contestants.ray_nodes import start_ray_nodes
from bench.contestants.sandbox import Sandbox, open_sandbox
from bench.demand.bench_term import TokenBook, fill_term, read_term
from bench.demand.workloads import WARM_UP, WORKLOADS, DemandPlan, Requests
from bench.load.measured import merged, percentiles_ms
from bench.measuring.options import Connections, NoPeers, Options, ResultAsJson, Rounds, Seconds, Sections, Seed
from bench.measuring.rounds import RoundRow, measure, verify_contestant
from bench.peers.registry import RAY_SECTIONS
from bench.report.results import keep
from bench.report.tables import show_round, show_rows, show_verified
from cluster.cli.common import Exit, err, out, print_json, run_async
from cluster.cli.progress import progress_bars
from persistence.imports.report import ImportProgress

TEMPLATE = "bench_nodes"
SETTLED_TIMEOUT_S = 90.0
UNIFORM = WORKLOADS["uniform"]


def nodes(
    nodes_max: Annotated[int, typer.Option("--nodes", min=2, max=8, help="Measure with 1 to this many nodes.")] = 3,
    peers: NoPeers = "none",
    seconds: Seconds = 5.0,
    rounds: Rounds = 3,
    connections: Connections = 256,
    sections: Sections = 1_000,
    warmup: Annotated[float, typer.Option(min=0, help="Seconds before each measurement, not counted.")] = 2.0,
    rate_max: Annotated[int, typer.Option(min=100, help="Requests a second to prepare for.")] = 9_000,
    seed: Seed = 1,
    as_json: ResultAsJson = False,
) -> None:
    """Durable enrolments a second on 1, 2, ... Ray nodes of this machine, each with an API server and a section actor.

    Nodes that take no part are drained. All nodes share the cores of the machine with Postgres and the load generator,
    so this shows what nodes cost and that they share the work, not what more machines would bring.

    Example:

        seatline bench nodes --nodes 3 --seconds 5
    """
    del peers
    options = Options(seconds, rounds, connections, sections, warmup, rate_max, seed)
    finish(run_async(measure_nodes(nodes_max, options)), as_json=as_json)


async def measure_nodes(nodes_max: int, options: Options) -> dict[str, Any]:
    """Run rounds on one Seatline whose nodes are drained and taken back in between."""
    turns = options.rounds * nodes_max
    plan = DemandPlan([UNIFORM], turns, options.per_round, options.sections, RAY_SECTIONS, options.seed)
    async with open_sandbox() as sandbox:
        with progress_bars() as progress:
            await sandbox.make_template(
                TEMPLATE, lambda url: fill_term(url, plan.capacities(), plan.students, progress)
            )
            term = await read_term(sandbox.database_url(TEMPLATE))
            requests = Requests(plan, term, TokenBook(sandbox.jwt_secret, term.students))
            async with start_ray_nodes(sandbox.home / "ray", nodes_max) as ray:
                settings = {**ray.settings, "PORT": str(free_port()), "SEATLINE_DRAIN_S": "1"}
                url = sandbox.database_url(TEMPLATE)
                async with start_seatline(sandbox, url, settings=settings, command=("serve",)) as seatline:
                    seatline.processes.extend(ray.processes)
                    rows = await _take_turns(sandbox, seatline, requests, options, nodes_max, progress)
                    err.print("verifying ...")
                    verified = {SEATLINE: await verify_contestant(seatline)}
    options_used = {**options.as_json(), "nodes": nodes_max}
    result = {"options": options_used, "rows": rows, "nodes": summary_of(rows), "verify": verified}
    keep("nodes", result, seeds={"nodes": options.seed})
    return result


async def _take_turns(
    sandbox: Sandbox,
    seatline: Contestant,
    requests: Requests,
    options: Options,
    nodes_max: int,
    progress: ImportProgress,
) -> list[RoundRow]:
    """Run all rounds, with rising and falling numbers of nodes in turn, so that none always comes last."""
    rows: list[RoundRow] = []
    serving = ServingNodes(seatline, await _labels(seatline))
    warm_up = requests.prepared(WARM_UP, 0)
    await measure(sandbox, seatline, warm_up, options)
    for turn in range(options.rounds):
        counts = range(1, nodes_max + 1)
        for count in counts if turn % 2 == 0 else reversed(counts):
            progress("rounds", len(rows), options.rounds * nodes_max)
            await serving.become(count)
            row = await measure(sandbox, seatline, requests.prepared(UNIFORM, len(rows)), options)
            rows.append({"workload": f"on {count}", "round": turn, "nodes": count, **row})
            show_round(rows[-1])
    progress("rounds", 1, 1)
    return rows


class ServingNodes:
    """The nodes of a Seatline that are not drained: the first so many."""

    def __init__(self, seatline: Contestant, labels: Sequence[str]) -> None:
        self._environment = seatline.environment or {}
        self._labels = labels
        self._count = len(labels)

    async def become(self, count: int) -> None:
        """Drain nodes or take them back until ``count`` serve, and wait until every section is on its node."""
        if count == self._count:
            return
        for label in self._labels[count : self._count]:
            await run_command(self._environment, "drain", label, "--json")
        for label in self._labels[self._count : count]:
            await run_command(self._environment, "drain", label, "--undo", "--json")
        self._count = count
        async with asyncio.timeout(SETTLED_TIMEOUT_S):
            while await self._serving() != count:
                await asyncio.sleep(0.5)
        await run_command(self._environment, "rebalance", "--json")

    async def _serving(self) -> int:
        actors = (await _status(self._environment))["actors"]
        members = {one["node"] for one in actors if one["is_member"]}
        listening = {one["node"] for one in actors if one["port"]}
        return len(members) if members == listening else 0


async def _labels(seatline: Contestant) -> list[str]:
    """Labels of the nodes that can serve; the head has no CPUs."""
    return [one["label"] for one in (await _status(seatline.environment or {}))["nodes"] if one["cpus"]]


async def _status(environment: Mapping[str, str]) -> dict[str, Any]:
    status: dict[str, Any]
    _, status = await run_command(environment, "status", "--json")
    return status


def summary_of(rows: Sequence[RoundRow]) -> list[dict[str, Any]]:
    """Medians of the rounds by number of nodes. ``of_one`` is the median ratio to one node within a round."""
    alone = {row["round"]: row["enrolled_per_s"] for row in rows if row["nodes"] == 1}
    found = []
    for count in sorted({row["nodes"] for row in rows}):
        own = [row for row in rows if row["nodes"] == count]
        latency = percentiles_ms(merged(row["latency_hdr"] for row in own))
        found.append(
            {
                "nodes": count,
                "per_s": round(median(row["enrolled_per_s"] for row in own), 1),
                "of_one": round(median(row["enrolled_per_s"] / alone[row["round"]] for row in own), 3),
                "cpu_us_per_enrolment": round(median(row["cpu_us_per_enrolment"] for row in own), 1),
                **{
                    f"{part}_us": round(median(row["cpu_us_per_enrolment_by"][part] for row in own), 1)
                    for part in own[0]["cpu_us_per_enrolment_by"]
                },
                "p50_ms": latency["p50"],
                "p99_ms": latency["p99"],
                "shed_or_failed": sum(row["shed"] + row["failed"] for row in own),
                "client_cpu": max(row["client"]["cpu_share"] for row in own),
            }
        )
    return found


def finish(result: dict[str, Any], *, as_json: bool) -> None:
    """Print the result; exit 5 if an invariant was broken."""
    if as_json:
        print_json(result)
    else:
        summary = result["nodes"]
        shown = [name.replace("_", " ") for name in summary[0]]
        show_rows("More nodes on one machine", shown, [list(one.values()) for one in summary])
        out.print(f"All of it on the {os.cpu_count()} cores of this machine, which limit it.", highlight=False)
        show_verified(result["verify"])
    if not all(one["ok"] for one in result["verify"].values()):
        raise typer.Exit(int(Exit.BROKEN_INVARIANT))
