"""Results: medians and ratios of rounds, what is kept, and the page."""

from __future__ import annotations

import re
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import orjson
import psutil
import pytest

from bench.commands.nodes import summary_of
from bench.contestants.contestant import SEATLINE
from bench.contestants.process_usage import tree_cpu_s, tree_memory_bytes
from bench.demand.workloads import WORKLOADS
from bench.load.measured import Measured
from bench.measuring.rounds import medians, ratios
from bench.report import page, results
from bench.report.provenance import FSYNC_LINE
from bench.report.timeline import timeline
from cluster.cli.common import CommandError

UNIFORM = WORKLOADS["uniform"]


def row(name: str, turn: int, per_s: float) -> dict[str, Any]:
    measured = Measured(1.0, Counter(enrolled=int(per_s)))
    measured.latencies_s.extend([0.010] * 90 + [0.100] * 10)
    return {
        "workload": "uniform", "contestant": name, "round": turn, "connections": 64, "cpu_us_per_enrolment": 100.0,
        **measured.as_json(),
    }  # fmt: skip


ROWS = [
    row(name, turn, per_s)
    for turn, pair in enumerate([(400, 100), (900, 300), (500, 50)])
    for name, per_s in zip((SEATLINE, "stored_function"), pair, strict=True)
]


def test_ratios_are_of_one_round_each() -> None:
    assert ratios(ROWS, [UNIFORM]) == {"stored_function": {"uniform": 4.0}}  # of 4, 3 and 10


def test_medians_are_of_rounds_and_latencies_of_all_together() -> None:
    found = medians(ROWS, [UNIFORM])["uniform"][SEATLINE]
    assert (found["per_s"], found["rounds"]) == (500, [400, 900, 500])
    assert found["latency_ms"]["p50"] == pytest.approx(10, rel=0.01)
    assert found["latency_ms"]["p99"] == pytest.approx(100, rel=0.01)


def test_shed_and_failed_are_not_achieved() -> None:
    measured = Measured(2.0, Counter(enrolled=6, overloaded=2, no_answer=1, http_500=1, credit_limit=2))
    assert (measured.shed, measured.failed, measured.achieved_per_s) == (2, 2, 4.0)


@pytest.fixture
def kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A directory of results of its own."""
    monkeypatch.setattr(results, "DIRECTORY", tmp_path)
    monkeypatch.setattr(results, "LATEST", tmp_path / "latest.json")
    monkeypatch.setattr(page, "PAGE", tmp_path / "report.html")
    return tmp_path


def test_sections_stay_beside_each_other_on_one_commit_only(kept: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    results.keep("latency", {"points": []}, seeds={"latency": 1})
    results.keep("spike", {"rows": []}, seeds={"spike": 2})
    found = orjson.loads((kept / "latest.json").read_bytes())
    assert {"latency", "spike", "commit", "machine", "versions"} <= found.keys()
    assert found["seeds"] == {"latency": 1, "spike": 2}

    monkeypatch.setattr(results, "describe", lambda: {"commit": {"id": "another"}, "machine": {}, "versions": {}})
    results.keep("spike", {"rows": []})
    assert "latency" not in orjson.loads((kept / "latest.json").read_bytes())


def test_the_page_shows_what_there_is(kept: Path) -> None:
    with pytest.raises(CommandError, match="make bench"):
        page.write_page()
    by_peer = {"stored_function": {"uniform": 4.0}}
    costs = {SEATLINE: {"uniform": 100.0}, "stored_function": {"uniform": 700.0}}
    verified = {SEATLINE: {"ok": True}, "stored_function": {"ok": False}}
    probes = {"uniform": {SEATLINE: {"16": 300.0, "64": 500.0}, "stored_function": {"16": 100.0, "64": 0.0}}}
    result = {"medians": medians(ROWS, [UNIFORM]), "probes": probes, "verify": verified}
    results.keep("throughput", result, ratios=by_peer, cpu_us_per_enrolment=costs)
    variants = [{"variant": "no batches", "workload": "uniform", "ratio": 0.3}]
    results.keep("ablation", {"variants": variants})

    html = page.write_page().read_text(encoding="utf-8")

    assert html.count("<svg") == 4
    ids = re.findall(r'\bid="([^"]+)"', html)
    assert len(ids) == len(set(ids))
    assert "every invariant holds" in html
    assert "an invariant is broken" in html
    assert "NOT durable" in html


def test_nodes_are_compared_within_a_round() -> None:
    rates = {1: (400, 900, 500), 2: (100, 900, 250)}
    rows = [
        {**row(SEATLINE, turn, per_s), "nodes": nodes, "cpu_us_per_enrolment_by": {"postgres": 10.0 * turn}}
        for nodes, of_nodes in rates.items()
        for turn, per_s in enumerate(of_nodes)
    ]

    one, two = summary_of(rows)

    assert (one["nodes"], one["per_s"], one["of_one"]) == (1, 500, 1.0)
    assert (two["nodes"], two["per_s"], two["of_one"]) == (2, 250, 0.5)  # of 0.25, 1 and 0.5
    assert two["postgres_us"] == 10.0


def test_a_timeline_shows_the_longest_answers_where_they_were_kept() -> None:
    quiet = {"nodes": 1.0, "wanted": 1.0, "draining": 0.0, "members": 1.0, "decided": 0.0}
    rows = [{**quiet, "s": 0.0}, {**quiet, "s": 1.0, "decided": 10.0, "nodes": 2.0}]
    measured = {
        "latency_ms": {"p50": 1.0, "p99": 2.0, "max": 3.0},
        "outcomes": {"enrolled": 10},
        "shed": 0,
        "failed": 4,
    }

    without = timeline({"timeline": rows, "measured": measured})
    longest = timeline({"timeline": [{**one, "longest_ms": 3.0} for one in rows], "measured": measured})

    assert "10 answers" in without
    assert "4 failed" in without
    assert "longest answer" not in without
    assert "longest answer" in longest


def test_cpu_of_a_child_that_has_ended_is_counted() -> None:
    burn = "sum(range(3_000_000))"
    script = f"import subprocess, sys; subprocess.run([sys.executable, '-c', '{burn}']); print(1, flush=True); input()"
    with subprocess.Popen([sys.executable, "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as parent:
        assert parent.stdout is not None
        parent.stdout.readline()
        own = psutil.Process(parent.pid).cpu_times()
        assert tree_cpu_s([parent.pid]) > own.user + own.system
        assert tree_memory_bytes([parent.pid])["processes"] == 1
        parent.communicate(b"\n")
    assert tree_cpu_s([parent.pid]) == 0.0


def test_sync_rates_are_read() -> None:
    text = "        fdatasync                          3512.250 ops/sec     285 usecs/op\n"
    assert FSYNC_LINE.findall(text) == [("fdatasync", "3512.250", "285")]
