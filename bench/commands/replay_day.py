"""``seatline bench replay-day``: days of real registration, replayed from files of real universities."""

from __future__ import annotations

import contextlib
from dataclasses import replace
from statistics import median
from typing import Annotated, Any

import typer

from bench.contestants.contestant import SEATLINE, start_peer, start_seatline
from bench.contestants.sandbox import Sandbox, open_sandbox
from bench.demand.real_demand import SHARED
from bench.demand.registration_days import DAYS, Day, Ids, missing_files
from bench.measuring.options import Connections, Options, Peers, ResultAsJson, Rounds, Seconds, Seed, contestants
from bench.measuring.rounds import RoundRow, abilities, measure, verify_contestant
from bench.peers.registry import PEERS
from bench.report.results import keep
from bench.report.tables import show_rows, show_verified
from cluster.cli.common import Exit, err, print_json, run_async
from cluster.cli.progress import progress_bars
from persistence.imports.load.loader import importing, load
from persistence.imports.report import ImportProgress

TEMPLATE = "bench_replay"
REPLAY_MAX_S = 1_200.0
EVERY_DAY = ",".join(day.name for day in DAYS)


def replay_day(
    peers: Peers = "stored_function",
    days: Annotated[str, typer.Option(help="Of them, by commas.")] = EVERY_DAY,
    seconds: Seconds = 30.0,
    rounds: Rounds = 1,
    connections: Connections = 256,
    seed: Seed = 1,
    as_json: ResultAsJson = False,
) -> None:
    """Real demand over HTTP: two Purdue terms as fast as they are answered, two UCSD passes compressed to --seconds.

    Every round of a contestant begins with a new database. Days whose files are missing are skipped with a message.

    Example:

        SEATLINE_DATA=/data seatline bench replay-day --days pu-llr-spr17 --peers none
    """
    names = [one for one in contestants(peers) if one not in {"echo", "ray_per_request"}]
    wanted = []
    for day in DAYS:
        if day.name in days.split(","):
            missing = missing_files(day)
            if missing:
                err.print(f"[yellow]skipped {day.name}[/]: {', '.join(missing)} not in {SHARED} (set SEATLINE_DATA)")
            else:
                wanted.append(day)
    options = Options(seconds, rounds, connections, seed=seed)
    finish(run_async(measure_days(names, wanted, options)), as_json=as_json)


async def measure_days(names: list[str], days: list[Day], options: Options) -> dict[str, Any]:
    """Import all days once; then run each contestant on a clone, one after the other."""
    rows: list[RoundRow] = []
    verified: dict[str, Any] = {}
    if days:
        async with open_sandbox() as sandbox:
            with progress_bars() as progress:
                await sandbox.make_template(TEMPLATE, lambda url: _import(url, days, progress))
                for turn in range(options.rounds):
                    for done, name in enumerate(names):
                        progress("replays", turn * len(names) + done, options.rounds * len(names))
                        found, verified[name] = await _replay_all(sandbox, name, days, options)
                        rows += [{"round": turn, **row} for row in found]
                progress("replays", 1, 1)
    result = {"options": options.as_json(), "rows": rows, "summary": _summary(rows), "verify": verified}
    keep("replay_day", result, seeds={"replay_day": options.seed})
    return result


async def _import(url: str, days: list[Day], progress: ImportProgress) -> None:
    async with importing(url) as connection:
        for day in days:
            await load(connection, day.bundle(), progress)


async def _replay_all(
    sandbox: Sandbox, name: str, days: list[Day], options: Options
) -> tuple[list[RoundRow], dict[str, Any]]:
    database = f"of_{name}"
    rows: list[RoundRow] = []
    async with contextlib.AsyncExitStack() as stack:
        url = await sandbox.clone(database, TEMPLATE)
        stack.push_async_callback(sandbox.drop, database)
        starting = start_seatline(sandbox, url) if name == SEATLINE else start_peer(sandbox, PEERS[name], url)
        contestant = await stack.enter_async_context(starting)
        for day in days:
            if not day.needs <= abilities(contestant):
                continue
            source = day.source(await Ids.read(url, day.name, sandbox.jwt_secret), options.seed)
            shape = {"arrivals": arrivals} if (arrivals := day.arrivals(options.seconds)) else {}
            at_once = replace(options, warmup_s=0.0, seconds=REPLAY_MAX_S)
            row = await measure(sandbox, contestant, source, at_once, **shape)
            rows.append(
                {
                    "day": day.name,
                    **row,
                    "final": dict(source.outcomes.most_common()),
                    "retries": source.retries,
                    "unsent": len(source.waiting),
                }
            )
            err.print(f"  {day.name} {name}: {row['seconds']:.1f} s, {rows[-1]['final']}", highlight=False)
        verified = await verify_contestant(contestant) if contestant.keeps_counts else {"ok": True, "findings": []}
    return rows, verified


def _summary(rows: list[RoundRow]) -> list[dict[str, Any]]:
    found = []
    for key in dict.fromkeys((row["day"], row["contestant"]) for row in rows):
        own = [row for row in rows if (row["day"], row["contestant"]) == key]
        seconds = median(row["seconds"] for row in own)
        final = own[0]["final"]
        found.append(
            {
                "day": key[0],
                "contestant": key[1],
                "requests": sum(final.values()),
                "seconds": round(seconds, 2),
                "per_s": round(sum(final.values()) / seconds, 1) if seconds else 0.0,
                "p50_ms": own[0]["latency_ms"].get("p50"),
                "p99_ms": own[0]["latency_ms"].get("p99"),
                "enrolled": final.get("enrolled", 0),
                "waitlisted": final.get("waitlisted", 0),
                "dropped": final.get("ok", 0),
                "refused": sum(count for code, count in final.items() if code not in {"enrolled", "waitlisted", "ok"}),
                "retries": sum(row["retries"] for row in own),
            }
        )
    return found


def finish(result: dict[str, Any], *, as_json: bool) -> None:
    """Print the result; exit 5 if an invariant was broken."""
    if as_json:
        print_json(result)
    elif result["summary"]:
        summary = result["summary"]
        show_rows("Days of real registration", list(summary[0]), [list(one.values()) for one in summary])
        show_verified(result["verify"])
    if not all(one["ok"] for one in result["verify"].values()):
        raise typer.Exit(int(Exit.BROKEN_INVARIANT))
