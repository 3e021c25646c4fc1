"""``seatline bench throughput``: durable enrolments a second at saturation, against every peer."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from bench.contestants.sandbox import open_sandbox
from bench.demand.workloads import WORKLOADS, Workload
from bench.live.throughput_run import measure_running
from bench.measuring.options import (
    CONNECTIONS_MAX,
    ConnectionsOrBest,
    Options,
    Peers,
    ResultAsJson,
    Rounds,
    Seconds,
    Sections,
    Seed,
    contestants,
)
from bench.measuring.postgres_limit import measure_batches
from bench.measuring.rounds import medians, open_contest, ratios
from bench.report.provenance import sync_rates
from bench.report.results import keep
from bench.report.tables import show_medians, show_round, show_verified
from cluster.cli.common import Exit, err, out, print_json, run_async
from cluster.cli.progress import progress_bars

DEFAULT_WORKLOADS = "uniform,zipf_0.99,zipf_1.5,zipf_2.0,hot,reads,mixed,churn"
LIMIT_SECONDS = 2.0


def throughput(
    peers: Peers = "all",
    workloads: Annotated[str, typer.Option(help="Of them, by commas.")] = DEFAULT_WORKLOADS,
    seconds: Seconds = 5.0,
    rounds: Rounds = 3,
    connections: ConnectionsOrBest = None,
    sections: Sections = 1_000,
    warmup: Annotated[float, typer.Option(min=0, help="Seconds before each measurement, not counted.")] = 1.0,
    rate_max: Annotated[int, typer.Option(min=100, help="Requests a second to prepare for.")] = 12_000,
    seed: Seed = 1,
    url: Annotated[
        str | None, typer.Option(help="Load this running Seatline instead (`up` for the one of this home): no peers.")
    ] = None,
    as_json: ResultAsJson = False,
) -> None:
    """Durable enrolments a second at saturation: Seatline and its peers in turn, on services of their own.

    Closed loop, with as many requests under way as each contestant is fastest with, or --connections. Ends with
    `verify` on every database; exits 5 if an invariant is broken. Figures of all rounds, their medians and the
    ratios are kept in bench/results/latest.json.

    Examples:

        seatline bench throughput --peers stored_function,echo --workloads uniform,hot

        seatline bench throughput --url up --connections 1024 --sections 1000 --seconds 15
    """
    at_once = connections or CONNECTIONS_MAX
    options = Options(
        seconds, rounds, at_once, sections, warmup, rate_max, seed, at_its_best=connections is None
    )  # fmt: skip
    if url is not None:
        result = run_async(measure_running(None if url == "up" else url, options))
    else:
        result = run_async(compare(contestants(peers), chosen(workloads), options, limits=True))
    finish(result, as_json=as_json)


def chosen(names: str) -> list[Workload]:
    """The workloads with these names."""
    unknown = [name for name in names.split(",") if name not in WORKLOADS]
    if unknown:
        raise typer.BadParameter(f"no such workload: {', '.join(unknown)}; there are {', '.join(WORKLOADS)}")
    return [WORKLOADS[name] for name in names.split(",")]


async def compare(
    names: list[str], workloads: list[Workload], options: Options, *, limits: bool, sync: bool = True
) -> dict[str, Any]:
    """Measure all contestants in turn and keep the result.

    Args:
        names: of the contestants.
        workloads: to measure.
        limits: whether to measure the limit of Postgres, too.
        sync: whether to measure the sync rate of the disk, too.
    """
    async with open_sandbox() as sandbox:
        extras: dict[str, Any] = {}
        if sync:
            err.print("pg_test_fsync ...")
            extras["pg_test_fsync"] = await sync_rates(sandbox.home)
        with progress_bars() as progress:
            async with open_contest(sandbox, names, workloads, options, progress) as contest:
                await contest.warm_up()
                for workload in workloads:
                    await contest.run(workload, progress, show_round)
                err.print("verifying ...")
                verified = await contest.verify()
                rows, probes = contest.rows, contest.probes()
        if limits:
            extras["limits"] = {"postgres_batches": await measure_batches(sandbox, LIMIT_SECONDS)}
    by_workload, by_peer = medians(rows, workloads), ratios(rows, workloads)
    result = {
        "options": options.as_json(), "medians": by_workload, "rounds": rows, "probes": probes, "verify": verified,
    }  # fmt: skip
    costs = {
        name: {
            workload: by_name[name]["cpu_us_per_enrolment"]
            for workload, by_name in by_workload.items()
            if "cpu_us_per_enrolment" in by_name.get(name, {})
        }
        for name in names
    }
    seeds = {"seeds": {"throughput": options.seed}}
    keep("throughput", result, ratios=by_peer, cpu_us_per_enrolment=costs, **extras, **seeds)
    return {**result, "ratios": by_peer, "cpu_us_per_enrolment": costs, **extras}


def finish(result: dict[str, Any], *, as_json: bool) -> None:
    """Print a comparison, and exit 5 if an invariant was broken."""
    if as_json:
        print_json(result)
    else:
        show_medians(result["medians"], result.get("ratios", {}))
        for one in result.get("limits", {}).get("postgres_batches", []):
            out.print(
                f"Postgres alone, batches of {one['batch']} on {one['connections']} connections:"
                f" {one['per_s']:,.0f} enrolments/s",
                highlight=False,
            )
        show_verified(result["verify"])
    if not all(one["ok"] for one in result["verify"].values()):
        raise typer.Exit(int(Exit.BROKEN_INVARIANT))
