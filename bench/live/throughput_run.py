"""``seatline bench throughput --url``: the throughput of a live Seatline."""

from __future__ import annotations

from typing import Any

from bench.contestants.contestant import SEATLINE
from bench.live.live_term import extend_term
from bench.live.requests import build, students_needed
from bench.load.generator import LoadGenerator
from bench.measuring.options import Options
from cluster.cli.databases import open_database
from cluster.cli.progress import progress_bars
from cluster.cli.replay import TOKEN_TTL_S, find_target, run_verify
from cluster.cli.tokens import Mint
from cluster.config.settings import read_settings


async def measure_running(url: str | None, options: Options) -> dict[str, Any]:
    """Durable enrolments a second of the Seatline at ``url``, or of the one that ``seatline up`` runs.

    Uses the semester BENCH (`live_term.py`).
    """
    settings = read_settings()
    mint = Mint(settings, TOKEN_TTL_S)
    target = await find_target(settings, url)
    count = options.per_round + options.connections
    async with open_database(settings) as urls:
        with progress_bars() as progress:
            students = students_needed(count, options.sections)
            term = await extend_term(urls.database_url, options.sections, students, progress)
            requests = build(target, term, mint.token, count, skew=0.0, seed=options.seed)
        load = LoadGenerator(
            target, requests, connections=options.connections, warmup_s=options.warmup_s, seconds=options.seconds
        )
        measured = await load.run()
        findings = await run_verify(settings, urls.database_url)
    row = {"workload": "uniform", "round": 0, "contestant": SEATLINE, **measured.as_json(), "ran_out": load.ran_out}
    row["connections"] = options.connections
    median = {
        "connections": options.connections,
        "per_s": round(measured.enrolled_per_s, 1),
        "latency_ms": row["latency_ms"],
        "client_cpu_share": round(measured.cpu_share, 3),
        "failed": measured.failed,
        "shed": measured.shed,
    }
    return {
        "options": options.as_json(),
        "medians": {"uniform": {SEATLINE: median}},
        "rounds": [row],
        "verify": {
            SEATLINE: {"ok": not findings, "findings": [f"{one.invariant}: {one.title}" for one in findings]},
        },
    }
