"""``seatline bench overload``: its options and its output; `bench/live/overload_run.py` runs it."""

from __future__ import annotations

from typing import Annotated

import typer
from rich.table import Table

from bench.live.overload_run import CROWDS, OverloadPlan, OverloadResult, measure
from bench.load.flood import NO_ANSWER, SHED, UNKNOWN, Phase
from bench.measuring.options import ResultAsJson, Seed
from cluster.cli.common import Exit, out, print_json, run_async
from cluster.cli.replay import verify_json
from cluster.clients.latency import summary_ms
from cluster.config.settings import read_settings


def overload(
    crowds: Annotated[str, typer.Option(help=f"Kinds of clients, by commas: {', '.join(CROWDS)}.")] = ",".join(CROWDS),
    factor: Annotated[float, typer.Option(min=1, help="How many times the load that fits.")] = 10.0,
    connections: Annotated[int, typer.Option(min=1, max=2_000, help="Requests under way at once at the peak.")] = 256,
    sections: Annotated[int, typer.Option(min=8, max=20_000, help="Sections that take part.")] = 1_000,
    seconds: Annotated[
        float, typer.Option(min=1, help="How long each overload lasts; the peak, a little less.")
    ] = 10.0,
    rate_max: Annotated[int, typer.Option(min=100, help="Enrolments a second to prepare for.")] = 12_000,
    seed: Seed = 1,
    url: Annotated[str | None, typer.Option(help="The API; by default the one that `seatline up` runs.")] = None,
    as_json: ResultAsJson = False,
) -> None:
    """Goodput at many times the load that fits, as a share of the peak, and the time to recover after it.

    Finds the peak first, with the same load generator. Then, for each crowd, sends the overload, and directly after it
    half the peak. The generator may share the machine with Seatline: its CPU is in the result. Ends with
    `verify`; exits 5 if an invariant is broken.

    Examples:

        seatline bench overload

        seatline bench overload --crowds open --factor 3 --json
    """
    names = tuple(one.strip() for one in crowds.split(","))
    unknown = [one for one in names if one not in CROWDS]
    if unknown:
        raise typer.BadParameter(f"no such crowd: {', '.join(unknown)}; there are {', '.join(CROWDS)}")
    plan = OverloadPlan(
        names, factor, connections, sections, peak_s=max(1.0, 0.8 * seconds), overload_s=seconds,
        rate_max=rate_max, seed=seed,
    )  # fmt: skip
    result, findings = run_async(measure(read_settings(), url, plan))
    if as_json:
        print_json({**result.as_json(), "verify": verify_json(findings)})
    else:
        _show(result)
        out.print(f"verify: {'every invariant holds' if not findings else verify_json(findings)}")
    if findings:
        raise typer.Exit(int(Exit.BROKEN_INVARIANT))


def _show(result: OverloadResult) -> None:
    table = Table(
        "", "tries/s", "decided/s", "of peak", "decided ms p50, p99", "shed/s", "shed ms p50, p99", "unknown",
        "no answer", "recovered s", "client cores", "server cores", title_justify="left",
    )  # fmt: skip
    table.title = f"{result.plan.factor:g} times the load that fits (times since sent)"
    _add(table, "peak", result.peak, "", "", result.cpu.get("peak", {}))
    for crowd, storm in result.storms.items():
        recovery = "never" if storm.recovery_s is None else f"{storm.recovery_s:.2f}"
        share = f"{result.goodput_share(crowd):.0%}"
        _add(table, crowd, storm.overload, share, recovery, result.cpu.get(crowd, {}))
    out.print(table)
    if result.ran_out:
        out.print("[yellow]The prepared requests ran out before the time: raise --rate-max.[/]")


def _add(table: Table, name: str, phase: Phase, share: str, recovery: str, cpu: dict[str, float]) -> None:
    tries, offered = phase.answers.total() / phase.seconds, phase.offered / phase.seconds
    table.add_row(
        name,
        f"{tries:,.0f}" if tries >= 0.9 * offered else f"{tries:,.0f} of {offered:,.0f}",
        f"{phase.goodput_per_s:,.0f}",
        share,
        _percentiles(summary_ms(phase.decided_since_sent_s)),
        f"{phase.answers[SHED] / phase.seconds:,.0f}",
        _percentiles(summary_ms(phase.shed_since_sent_s)),
        f"{phase.answers[UNKNOWN]:,}",
        f"{phase.answers[NO_ANSWER]:,}",
        recovery,
        f"{phase.cpu_s / phase.seconds:.2f}",
        ", ".join(f"{kind} {cores:g}" for kind, cores in cpu.items()),
    )


def _percentiles(found: dict[str, float]) -> str:
    return f"{found['p50']:.0f}, {found['p99']:.0f}" if found else ""
