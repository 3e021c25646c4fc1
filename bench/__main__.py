"""``python -m bench``: load on a running Seatline."""

from __future__ import annotations

from typing import Annotated, NamedTuple

import typer

from bench.campus import prepare
from bench.load import Load
from bench.measured import histogram, percentiles_ms
from bench.requests import build, students_needed
from cluster.cli.common import Exit, out, print_json, run_async
from cluster.cli.databases import open_database
from cluster.cli.progress import progress_bars
from cluster.cli.replays import TOKEN_TTL_S, find_target, run_verify, verify_json
from cluster.cli.tokens import Mint
from cluster.settings import read_settings
from persistence.verify import Finding

app = typer.Typer(
    help="Load on a running Seatline.", no_args_is_help=True, pretty_exceptions_enable=False, add_completion=False
)


class Workload(NamedTuple):
    """What load is sent. ``rate`` in requests a second is for the open loop."""

    loop: str
    connections: int
    sections: int
    seconds: float
    warmup_s: float
    rate: float | None
    skew: float
    seed: int


@app.callback()
def _group() -> None:
    """Makes `throughput` a subcommand although it is the only one."""


@app.command()
def throughput(
    connections: Annotated[int, typer.Option(min=1, max=512, help="Requests under way at once.")] = 256,
    sections: Annotated[int, typer.Option(min=1, max=20_000, help="Sections that take them.")] = 1_000,
    seconds: Annotated[float, typer.Option(min=0.5, help="How long to measure.")] = 15.0,
    warmup: Annotated[float, typer.Option(min=0, help="Seconds before, which do not count.")] = 3.0,
    rate: Annotated[float | None, typer.Option(min=1, help="Open loop: requests a second, come what may.")] = None,
    skew: Annotated[float, typer.Option(min=0, help="Demand by rank r falls as r ** -skew; 1.3 is measured.")] = 0.0,
    rate_max: Annotated[int, typer.Option(min=100, help="Requests a second to prepare for.")] = 8_000,
    seed: Annotated[int, typer.Option(help="Of the choice of sections.")] = 1,
    url: Annotated[str | None, typer.Option(help="The API; by default the one that `seatline up` runs.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the result as JSON.")] = False,
) -> None:
    """Durable enrolments a second, and their latencies. Ends with `verify`; exits 5 if an invariant is broken.

    Uses a semester of its own (BENCH) with sections that never fill up and students who never registered before.

    Examples:

        python -m bench throughput --connections 256 --sections 1000 --seconds 15

        python -m bench throughput --rate 2000 --skew 1.3 --json
    """
    workload = Workload("open" if rate else "closed", connections, sections, seconds, warmup, rate, skew, seed)
    count = int((rate or rate_max) * (seconds + warmup)) + connections
    load, findings = run_async(_throughput(workload, count, url))
    result = _result(workload, load, findings)
    if as_json:
        print_json(result)
    else:
        _show(result)
    if findings:
        raise typer.Exit(int(Exit.BROKEN_INVARIANT))


async def _throughput(workload: Workload, count: int, url: str | None) -> tuple[Load, list[Finding]]:
    settings = read_settings()
    mint = Mint(settings, TOKEN_TTL_S)
    target = await find_target(settings, url)
    async with open_database(settings) as urls:
        with progress_bars() as progress:
            students = students_needed(count, workload.sections)
            campus = await prepare(urls.database_url, workload.sections, students, progress)
            requests = build(target, campus, mint.token, count, skew=workload.skew, seed=workload.seed)
        load = Load(
            target, requests, connections=workload.connections, warmup_s=workload.warmup_s, seconds=workload.seconds,
            rate=workload.rate,
        )  # fmt: skip
        await load.run()
        return load, await run_verify(settings, urls.database_url)


def _result(workload: Workload, load: Load, findings: list[Finding]) -> dict[str, object]:
    measured = load.measured
    answers = sum(measured.outcomes.values()) + sum(measured.outcomes_outside.values())
    return {
        "workload": workload._asdict(),
        "enrolled_per_second": round(measured.enrolled_per_s, 1),
        "outcomes": dict(measured.outcomes.most_common()),
        "outcomes_outside": dict(measured.outcomes_outside.most_common()),
        "latency_ms": percentiles_ms(histogram(measured.latencies_s)),
        "client": {
            "cpu_share": round(measured.cpu_s / measured.wall_s, 3) if measured.wall_s else 0.0,
            "cpu_us_per_request": round(measured.cpu_s / answers * 1e6, 1) if answers else 0.0,
        },
        "ran_out_of_requests": load.ran_out,
        "unsent": measured.unsent,
        "verify": verify_json(findings),
    }


def _show(result: dict[str, object]) -> None:
    out.print(f"[bold]{result['enrolled_per_second']} durable enrolments per second[/]", highlight=False)
    for name in ("workload", "outcomes", "outcomes_outside", "latency_ms", "client", "unsent"):
        out.print(f"{name.replace('_', ' ')}: {result[name]}", highlight=False)
    if result["ran_out_of_requests"]:
        out.print("[yellow]The prepared requests ran out before the time: raise --rate-max.[/]")
    out.print(f"verify: {'every invariant holds' if result['verify']['ok'] else result['verify']}")  # type: ignore[index]


if __name__ == "__main__":
    app()
