"""The Grafana dashboard and the Prometheus rules: their metrics exist, and each alert has a section in the runbook."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families

from allocator.turns.stats import ServiceStats
from tests.unit.api.conftest import Api

ROOT = Path(__file__).parents[3]
DIRECTORY = ROOT / "cluster" / "monitoring"
RULES: dict[str, Any] = yaml.safe_load((DIRECTORY / "alerts.yml").read_text(encoding="utf-8"))
RULE_TESTS: dict[str, Any] = yaml.safe_load((DIRECTORY / "alerts_test.yml").read_text(encoding="utf-8"))
DASHBOARD: dict[str, Any] = json.loads((DIRECTORY / "dashboard.json").read_text(encoding="utf-8"))

SUFFIXES = {"counter": ("_total",), "histogram": ("_bucket", "_sum", "_count"), "gauge": ("",)}
NAMES = re.compile(r"\b(?:seatline|process)_\w+")
LABELS = re.compile(r"\b((?:seatline|process)_\w+)\{([^}]*)\}")
RECORDED = re.compile(r"\bseatline:\w+:\w+")

has_promtool = pytest.mark.skipif(
    shutil.which("promtool") is None, reason="promtool is not installed (Debian: apt-get install prometheus)"
)


def rules(kind: str) -> dict[str, dict[str, Any]]:
    """Rules that record or alert, by name."""
    return {one[kind]: one for group in RULES["groups"] for one in group["rules"] if kind in one}


def queries() -> Iterator[str]:
    """Every expression of the rules and of the dashboard."""
    for group in RULES["groups"]:
        for rule in group["rules"]:
            yield rule["expr"]
    for panel in DASHBOARD["panels"]:
        for target in panel.get("targets", ()):
            yield target["expr"]


async def exported(api: Api) -> dict[str, str]:
    """What a scrape has: names of series as they are asked for, and their text with labels."""
    stats = ServiceStats()
    stats.outcomes["enrolled"] += 1
    api.world.actor_stats = [{"actor": "sections-a-0", "sections": 1, "inbox": 0, **stats.as_dict()}]
    await api.ask("GET", "/health", None)
    answer = await api.client.get("/metrics")
    text = await answer.text()
    return {
        family.name + suffix: text
        for family in text_string_to_metric_families(text)
        for suffix in SUFFIXES.get(family.type, ())
    }


async def test_every_metric_that_is_asked_for_exists(api: Api) -> None:
    known = set(await exported(api))
    asked = {name for query in queries() for name in NAMES.findall(query)}
    assert len(asked) >= 20
    assert asked - known == set()


async def test_every_figure_of_the_actors_is_on_the_dashboard_or_in_a_rule(api: Api) -> None:
    """Whoever adds one should look at it here."""
    asked = {re.sub(r"_(total|bucket|sum|count)$", "", name) for query in queries() for name in NAMES.findall(query)}
    known = {re.sub(r"_(total|bucket|sum|count)$", "", name) for name in await exported(api)}
    unseen = {name for name in known if name.startswith("seatline_")} - asked
    assert unseen <= {"seatline_actor_deferrals", "seatline_actor_passivations"}


def test_recorded_series_are_recorded() -> None:
    asked = {name for query in queries() for name in RECORDED.findall(query)}
    assert asked == set(rules("record"))


def test_the_route_of_enrolments_is_the_one_that_is_asked_for() -> None:
    from api.resources.routes import API_ROUTES

    routes = {(route.method, route.path) for route in API_ROUTES}
    asked = {
        (labels["method"], labels["route"])
        for query in queries()
        for _, text in LABELS.findall(query)
        if "route" in (labels := dict(re.findall(r'(\w+)="([^"]*)"', text)))
    }
    assert asked == {("POST", "/api/enrollments")}
    assert asked <= routes


def test_every_alert_is_tested_and_has_its_page_in_the_runbook() -> None:
    runbook = (ROOT / "docs" / "operations.md").read_text(encoding="utf-8")
    tested = {
        one["alertname"] for test in RULE_TESTS["tests"] for one in test.get("alert_rule_test", ()) if one["exp_alerts"]
    }
    assert len(rules("alert")) >= 10
    assert set(rules("alert")) == tested
    for name, rule in rules("alert").items():
        assert f"### {name}\n" in runbook, name
        assert rule["labels"]["severity"] in {"page", "warn"}


def test_panels_do_not_overlap() -> None:
    places = [one["gridPos"] for one in DASHBOARD["panels"]]
    cells = [
        (x, y)
        for one in places
        for x in range(one["x"], one["x"] + one["w"])
        for y in range(one["y"], one["y"] + one["h"])
    ]
    assert len(cells) == len(set(cells))
    assert max(x for x, _ in cells) < 24
    assert len({one["id"] for one in DASHBOARD["panels"]}) == len(places)


@has_promtool
@pytest.mark.parametrize(
    "arguments",
    [("check", "rules", "alerts.yml"), ("test", "rules", "alerts_test.yml"), ("check", "config", "prometheus.yml")],
)
def test_promtool_agrees(arguments: tuple[str, ...]) -> None:
    done = subprocess.run(["promtool", *arguments], cwd=DIRECTORY, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


@has_promtool
def test_the_dashboard_asks_what_prometheus_understands(tmp_path: Path) -> None:
    asked = [{"record": f"panel:{number}", "expr": query} for number, query in enumerate(sorted(set(queries())))]
    path = tmp_path / "panels.json"  # JSON is YAML
    path.write_text(json.dumps({"groups": [{"name": "panels", "rules": asked}]}))
    done = subprocess.run(["promtool", "check", "rules", str(path)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"{len(asked)} rules found" in done.stdout
