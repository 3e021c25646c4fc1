"""``seatline bench ablation``: what each optimisation is worth, by leaving it out."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from bench.contestants.sandbox import open_sandbox
from bench.demand.workloads import WORKLOADS
from bench.measuring.options import Connections, NoPeers, Options, ResultAsJson, Rounds, Seconds, Sections, Seed
from bench.measuring.variants import Variant, compare_variants
from bench.report.results import keep
from bench.report.tables import show_round, show_rows, show_verified
from cluster.cli.common import Exit, print_json, run_async
from cluster.cli.progress import progress_bars

NO_GATEWAY_BATCHES = {"SEATLINE_GATEWAY_BATCH_MAX": "1", "SEATLINE_GATEWAY_CALLS_MAX": "1000"}
VARIANTS = {
    one.name: one
    for one in (
        Variant("no batches at the gateway", NO_GATEWAY_BATCHES),
        Variant("no batches at the actor", {"SEATLINE_BATCH_MAX": "1", "SEATLINE_GATEWAY_BATCH_MAX": "512"}),
        Variant("no batches at all", {**NO_GATEWAY_BATCHES, "SEATLINE_BATCH_MAX": "1"}),
        Variant("dedicated", {"SEATLINE_PLACEMENT": "dedicated"}, few=True),
        Variant("2 section actors", {"SEATLINE_ACTORS_PER_NODE": "2"}),
        Variant("4 section actors", {"SEATLINE_ACTORS_PER_NODE": "4"}),
        Variant("2 API processes", {"SEATLINE_API_SERVERS_PER_NODE": "2"}),
        Variant("no memory of tokens", {"SEATLINE_CHECKED_TOKENS_MAX": "0"}),
    )
}


def ablation(
    variants: Annotated[str, typer.Option(help=f"Of them, by commas: {', '.join(VARIANTS)}.")] = ",".join(VARIANTS),
    peers: NoPeers = "none",
    workloads: Annotated[str, typer.Option(help="Of them, by commas.")] = "uniform,hot",
    seconds: Seconds = 3.0,
    rounds: Rounds = 3,
    connections: Connections = 256,
    sections: Sections = 1_000,
    rate_max: Annotated[int, typer.Option(min=100, help="Requests a second to prepare for.")] = 12_000,
    seed: Seed = 1,
    as_json: ResultAsJson = False,
) -> None:
    """Seatline without one of its optimisations, against Seatline with all of them, in turn.

    Example:

        seatline bench ablation --variants "no batches at all,2 section actors" --seconds 5
    """
    del peers
    names = [name.strip() for name in variants.split(",")]
    unknown = [name for name in names if name not in VARIANTS]
    if unknown:
        raise typer.BadParameter(f"no such variant: {', '.join(unknown)}; there are {', '.join(VARIANTS)}")
    options = Options(seconds, rounds, connections, sections, 1.0, rate_max, seed)
    finish(run_async(measure_ablation(names, workloads.split(","), options)), as_json=as_json)


async def measure_ablation(names: list[str], workloads: list[str], options: Options) -> dict[str, Any]:
    """Run all variants and keep the result."""
    async with open_sandbox() as sandbox:
        with progress_bars() as progress:
            found = await compare_variants(
                sandbox,
                [VARIANTS[name] for name in names],
                [WORKLOADS[name] for name in workloads],
                options,
                progress,
                show_round,
            )
    result = {"options": options.as_json(), **found}
    keep("ablation", result, seeds={"ablation": options.seed})
    return result


def finish(result: dict[str, Any], *, as_json: bool) -> None:
    """Print the result; exit 5 if an invariant was broken."""
    if as_json:
        print_json(result)
    else:
        summary = result["variants"]
        show_rows(
            "One optimisation left out (ratio: the variant over the default)",
            list(summary[0]), [list(one.values()) for one in summary],
        )  # fmt: skip
        show_verified(result["verify"])
    if not all(one["ok"] for one in result["verify"].values()):
        raise typer.Exit(int(Exit.BROKEN_INVARIANT))
