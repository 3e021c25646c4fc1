"""The report as an HTML page: provenance, plots, and the figures behind them."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from html import escape
from itertools import count
from pathlib import Path
from typing import Any

from bench.peers.registry import PEERS
from bench.report.plots import PLOTS, label
from bench.report.results import DIRECTORY, read_latest
from cluster.cli.common import CommandError

PAGE = DIRECTORY / "report.html"
ID = re.compile(r'(\bid="|href="#|url\(#)')
STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; max-width: 62rem; margin: 2rem auto; padding: 0 1rem; color: #222 }
table { border-collapse: collapse; font-size: 13px; margin: 1rem 0 } caption { text-align: left; font-weight: 600 }
td, th { padding: .2rem .7rem; border-bottom: 1px solid #ddd; text-align: right } td:first-child { text-align: left }
svg { width: 100%; height: auto } .broken { color: #b00; font-weight: 600 }
"""


def write_page() -> Path:
    """Write the page from the kept results; its path.

    Raises:
        CommandError: if nothing has been measured yet.
    """
    results = read_latest()
    if not results:
        raise CommandError("nothing has been measured yet: run `make bench`")
    PAGE.write_text(_page(results), encoding="utf-8")
    return PAGE


def _page(results: dict[str, Any]) -> str:
    parts = [f"<h1>Seatline: the benchmark suite</h1>{_about(results)}"]
    numbers = count()
    for title, plot in PLOTS.items():
        svg = plot(results)
        if svg is not None:
            parts.append(f"<h2>{escape(title)}</h2>{_with_own_ids(svg, next(numbers))}")
    parts += [_throughput(results), _ratios(results), _spikes(results), _replays(results), _notes(), _verified(results)]
    head = f'<meta charset="utf-8"><title>Seatline bench</title><style>{STYLE}</style>'
    return f'<!doctype html><html lang="en">{head}{"".join(parts)}</html>'


def _with_own_ids(svg: str, number: int) -> str:
    """An SVG with ids that are unique in the page."""
    return ID.sub(lambda match: f"{match.group(1)}p{number}-", svg)


def _about(results: dict[str, Any]) -> str:
    machine, commit = results["machine"], results["commit"]
    where = f"{machine['cpu']}, {machine['cores']} cores, {machine['memory_gb']} GB, {machine['system']}"
    changed = " with changes" if commit["dirty"] else ""
    sync = results.get("pg_test_fsync", {}).get("ops_per_s", {})
    lines = [
        f"Commit {commit['id']}{changed}.",
        f"{where}. The load generator runs on the same machine; its share of a core is given with every figure.",
        "Versions: " + ", ".join(f"{name} {number}" for name, number in results["versions"].items()) + ".",
    ]
    if sync:
        lines.append("pg_test_fsync: " + ", ".join(f"{name} {rate:,.0f}/s" for name, rate in sync.items()) + ".")
    return "".join(f"<p>{escape(line)}</p>" for line in lines)


def _throughput(results: dict[str, Any]) -> str:
    medians = results.get("throughput", {}).get("medians", {})
    rows = [
        [workload, label(name), one.get("connections"), one["per_s"],
         *(one["latency_ms"].get(point) for point in ("p50", "p99", "p99.9")),
         one.get("cpu_us_per_enrolment", one.get("cpu_us_per_answer")), one["client_cpu_share"]]
        for workload, by_name in medians.items()
        for name, one in by_name.items()
    ]  # fmt: skip
    head = ["workload", "", "at once", "per second", "p50 ms", "p99 ms", "p99.9 ms", "server CPU us", "client, cores"]
    return _table("Closed loop, medians of rounds", head, rows)


def _ratios(results: dict[str, Any]) -> str:
    ratios = results.get("ratios", {})
    workloads = list(dict.fromkeys(workload for one in ratios.values() for workload in one))
    rows = [[label(name), *(one.get(workload) for workload in workloads)] for name, one in ratios.items()]
    return _table("Seatline over each peer: median of the ratios within rounds", ["", *workloads], rows)


def _spikes(results: dict[str, Any]) -> str:
    return _dicts("Everybody at once", results.get("spike", {}).get("summary", []))


def _replays(results: dict[str, Any]) -> str:
    return _dicts("Days of real registration", results.get("replay_day", {}).get("summary", []))


def _notes() -> str:
    notes = "".join(f"<li><b>{escape(label(name))}</b>: {escape(peer.note)}</li>" for name, peer in PEERS.items())
    return f"<h2>The peers</h2><ul>{notes}</ul>"


def _verified(results: dict[str, Any]) -> str:
    found = [
        (section, name, one["ok"])
        for section, result in results.items()
        if isinstance(result, dict)
        for name, one in result.get("verify", {}).items()
    ]
    items = "".join(
        f"<li{'' if ok else ' class=broken'}>{escape(section)}, {escape(name)}: "
        f"{'every invariant holds' if ok else 'an invariant is broken'}</li>"
        for section, name, ok in found
    )
    return f"<h2>verify</h2><ul>{items}</ul>"


def _dicts(title: str, rows: Sequence[dict[str, Any]]) -> str:
    return _table(title, [name.replace("_", " ") for name in rows[0]], [one.values() for one in rows]) if rows else ""


def _table(title: str, head: Sequence[str], rows: Sequence[Iterable[object]]) -> str:
    if not rows:
        return ""
    header = "".join(f"<th>{escape(name)}</th>" for name in head)
    body = "".join("<tr>" + "".join(f"<td>{escape(_text(value))}</td>" for value in row) + "</tr>" for row in rows)
    return f"<table><caption>{escape(title)}</caption><tr>{header}</tr>{body}</table>"


def _text(value: object) -> str:
    if value is None:
        return ""
    if isinstance(value, float):
        return f"{value:,.2f}" if abs(value) < 100 else f"{value:,.0f}"
    return f"{value:,}" if isinstance(value, int) else str(value)
