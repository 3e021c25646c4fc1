"""``seatline bench latency``: latency at a given load, and on an idle system."""

from __future__ import annotations

from dataclasses import replace
from statistics import median
from typing import Annotated, Any

import typer

from bench.contestants.contestant import SEATLINE, Contestant
from bench.contestants.sandbox import open_sandbox
from bench.demand.workloads import WORKLOADS
from bench.load.measured import merged, percentiles_ms
from bench.measuring.latency_floors import batches, commit_latency, ray_latency
from bench.measuring.options import (
    CONNECTIONS_MAX,
    Connections,
    Options,
    Peers,
    ResultAsJson,
    Rounds,
    Seconds,
    Sections,
    Seed,
    contestants,
)
from bench.measuring.rounds import Contest, RoundRow, measure, open_contest
from bench.report.results import keep
from bench.report.tables import show_rows, show_verified
from cluster.cli.common import Exit, err, out, print_json, run_async
from cluster.cli.progress import progress_bars
from persistence.imports.report import ImportProgress

UNIFORM = WORKLOADS["uniform"]
PEAK_SECONDS = 3.0
IDLE_SECONDS = 3.0


def latency(
    peers: Peers = "stored_function,conventional",
    seconds: Seconds = 5.0,
    rounds: Rounds = 3,
    connections: Connections = CONNECTIONS_MAX,
    sections: Sections = 1_000,
    shares: Annotated[
        str, typer.Option(help="Offered rates, as shares of each contestant's own peak.")
    ] = "0.25,0.5,0.75,0.9",
    rate_max: Annotated[int, typer.Option(min=100, help="Requests a second to prepare for.")] = 12_000,
    seed: Seed = 1,
    as_json: ResultAsJson = False,
) -> None:
    """Latency in an open loop at shares of each contestant's peak rate, counted from when a request was due.

    Also one request at a time on an idle system, compared with a round trip through Ray and a Postgres commit.

    Example:

        seatline bench latency --peers stored_function --shares 0.5 --seconds 10
    """
    options = Options(seconds, rounds, connections, sections, 1.0, rate_max, seed, at_its_best=True)
    parts = tuple(float(one) for one in shares.split(","))
    result = run_async(measure_latency([one for one in contestants(peers) if one != "echo"], parts, options))
    finish(result, as_json=as_json)


async def measure_latency(names: list[str], shares: tuple[float, ...], options: Options) -> dict[str, Any]:
    """Measure peak, offered rates and idle latency, in rounds.

    Args:
        shares: of each contestant's peak rate.
        options: with the connections of the open loops; the peak is measured at each contestant's saturation.
    """
    turns = options.rounds * (len(shares) + 2)
    drawing = replace(options, rounds=turns)
    rows: list[RoundRow] = []
    async with open_sandbox() as sandbox:
        with progress_bars() as progress:
            async with open_contest(sandbox, names, [UNIFORM], drawing, progress) as contest:
                await contest.warm_up()
                await contest.find_paces(UNIFORM, list(contest.contestants.values()), progress)
                for turn in range(options.rounds):
                    rows += await _round(contest, turn, shares, options, progress)
                home = contest.contestants[SEATLINE].home
                assert home is not None  # noqa: S101  (a Seatline has one)
                floor = {
                    "ray_round_trip_ms": await ray_latency(home),
                    "postgres_commit_ms": await commit_latency(sandbox.services.database_url),
                }
                err.print("verifying ...")
                verified = await contest.verify()
    result = {
        "options": options.as_json(), "rows": rows, "points": _points(rows), "idle": _idle(rows, floor),
        "verify": verified,
    }  # fmt: skip
    keep("latency", result, seeds={"latency": options.seed})
    return result


async def _round(
    contest: Contest, turn: int, shares: tuple[float, ...], options: Options, progress: ImportProgress
) -> list[RoundRow]:
    rows: list[RoundRow] = []
    first = turn * (len(shares) + 2)
    everybody = list(contest.contestants.values())
    peaks: dict[str, float] = {}
    for contestant in everybody:
        quick = contest.at_pace(contestant, UNIFORM, replace(options, seconds=min(PEAK_SECONDS, options.seconds)))
        row = await measure(contest.sandbox, contestant, contest.source(contestant, UNIFORM, first), quick)
        peaks[contestant.name] = row["enrolled_per_s"]
        rows.append({"kind": "peak", "share": None, "round": turn, **row})
    for number, share in enumerate(shares, start=1):
        progress("offered rates", turn * len(shares) + number, options.rounds * len(shares))
        for contestant in everybody:
            source = contest.source(contestant, UNIFORM, first + number)
            rate = max(1.0, share * peaks[contestant.name])
            before = await _batches(contestant)
            row = await measure(contest.sandbox, contestant, source, options, rate=rate)
            after = await _batches(contestant)
            turns = after[1] - before[1]
            mean = round((after[0] - before[0]) / turns, 2) if turns else None
            rows.append({"kind": "rate", "share": share, "round": turn, **row, "batch_mean": mean})
    alone = replace(options, connections=1, seconds=min(IDLE_SECONDS, options.seconds))
    for contestant in everybody:
        source = contest.source(contestant, UNIFORM, first + len(shares) + 1)
        row = await measure(contest.sandbox, contestant, source, alone)
        rows.append({"kind": "idle", "share": None, "round": turn, **row})
    return rows


async def _batches(contestant: Contestant) -> tuple[float, float]:
    return await batches(contestant.target) if contestant.peer is None else (0.0, 0.0)


def _points(rows: list[RoundRow]) -> list[dict[str, Any]]:
    """One point for each contestant and share: medians of rates, percentiles of merged latencies."""
    found = []
    for name in dict.fromkeys(row["contestant"] for row in rows):
        for share in dict.fromkeys(row["share"] for row in rows if row["kind"] == "rate"):
            own = [row for row in rows if row["contestant"] == name and row["share"] == share]
            found.append(
                {
                    "contestant": name,
                    "share_of_peak": share,
                    "offered_per_s": round(median(row["offered_per_s"] for row in own), 1),
                    "achieved_per_s": round(median(row["achieved_per_s"] for row in own), 1),
                    "latency_ms": percentiles_ms(merged(row["latency_hdr"] for row in own)),
                    "batch_mean": _median([row["batch_mean"] for row in own if row["batch_mean"] is not None]),
                    "shed": sum(row["shed"] for row in own),
                    "failed": sum(row["failed"] for row in own),
                    "unsent": sum(row["unsent"] for row in own),
                }
            )
    return found


def _median(values: list[float]) -> float | None:
    return median(values) if values else None


def _idle(rows: list[RoundRow], floor: dict[str, dict[str, float]]) -> dict[str, Any]:
    """Latencies of one request at a time, and Seatline's as a multiple of its lower bound."""
    own = {
        name: percentiles_ms(
            merged(row["latency_hdr"] for row in rows if row["kind"] == "idle" and row["contestant"] == name)
        )
        for name in dict.fromkeys(row["contestant"] for row in rows)
    }
    least = floor["ray_round_trip_ms"]["p50"] + floor["postgres_commit_ms"]["p50"]
    return {"latency_ms": own, **floor, "seatline_over_floor": round(own[SEATLINE].get("p50", 0.0) / least, 2)}


def finish(result: dict[str, Any], *, as_json: bool) -> None:
    """Print the result; exit 5 if an invariant was broken."""
    if as_json:
        print_json(result)
    else:
        points = ("p50", "p90", "p99", "p99.9")
        show_rows(
            "Open loop, from the intended start",
            ["contestant", "of peak", "offered/s", "achieved/s", *(f"{point} ms" for point in points), "shed", "batch"],
            [
                [one["contestant"], one["share_of_peak"], one["offered_per_s"], one["achieved_per_s"],
                 *(one["latency_ms"].get(point) for point in points), one["shed"], one["batch_mean"]]
                for one in result["points"]
            ],
        )  # fmt: skip
        idle = result["idle"]
        for name, one in idle["latency_ms"].items():
            out.print(f"one at a time, {name}: p50 {one.get('p50', 0):.2f} ms", highlight=False)
        out.print(
            f"Ray round trip p50 {idle['ray_round_trip_ms']['p50']:.2f} ms, Postgres commit p50"
            f" {idle['postgres_commit_ms']['p50']:.2f} ms; Seatline: {idle['seatline_over_floor']} times their sum",
            highlight=False,
        )
        show_verified(result["verify"])
    if not all(one["ok"] for one in result["verify"].values()):
        raise typer.Exit(int(Exit.BROKEN_INVARIANT))
