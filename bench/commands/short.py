"""``seatline bench short``: a short version of the suite, which ``make bench`` runs."""

from __future__ import annotations

from time import perf_counter
from typing import Annotated

import typer

from bench.commands import latency, micro, spike, throughput
from bench.commands.report import report
from bench.demand.workloads import WORKLOADS
from bench.measuring.options import CONNECTIONS_MAX, Options, Peers, Rounds, Seed, contestants
from bench.report.provenance import describe
from bench.report.results import LATEST
from cluster.cli.common import err, out, run_async

SHORT_WORKLOADS = ("uniform", "hot", "reads")
SHARES = (0.25, 0.5, 0.75)
STUDENTS = 3_000
RATE_MAX = 11_000


def short(
    peers: Peers = "all",
    seconds: Annotated[float, typer.Option(min=0.5, help="How long to measure, each time.")] = 2.0,
    rounds: Rounds = 3,
    seed: Seed = 1,
) -> None:
    """Throughput against every peer, latency and spike against the strongest, microbenchmarks, a report. Ten minutes.

    Each part verifies its databases and ends the run with exit code 5 if an invariant is broken.

    Example:

        seatline bench short --peers stored_function,echo
    """
    started = perf_counter()
    describe()  # remembers the commit whose code is running
    names = contestants(peers)
    strongest = [one for one in names if one in {"seatline", "stored_function"}]
    options = Options(
        seconds, rounds, CONNECTIONS_MAX, warmup_s=0.5, rate_max=RATE_MAX, seed=seed, at_its_best=True
    )  # fmt: skip
    err.print("[bold]throughput[/]")
    workloads = [WORKLOADS[name] for name in SHORT_WORKLOADS]
    throughput.finish(run_async(throughput.compare(names, workloads, options, limits=True)), as_json=False)
    err.print("[bold]latency[/]")
    latency.finish(run_async(latency.measure_latency(strongest, SHARES, options)), as_json=False)
    err.print("[bold]spike[/]")
    patient = Options(60.0, rounds, CONNECTIONS_MAX, seed=seed)
    spike.finish(run_async(spike.measure_spike(strongest, STUDENTS, patient)), as_json=False)
    err.print("[bold]micro[/]")
    micro.finish(micro.measure_micro(0.5, [], quiet=True), as_json=False)
    report()
    out.print(f"results: {LATEST}\nTook {perf_counter() - started:.0f} s.", highlight=False, soft_wrap=True)
