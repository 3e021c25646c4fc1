"""Health, readiness and metrics."""

from __future__ import annotations

import asyncio

import pytest
from prometheus_client.parser import text_string_to_metric_families

from allocator.turns.stats import ServiceStats
from api.monitoring.metrics import METRICS
from api.monitoring.metrics_page import MetricsPage
from api.monitoring.readiness import READINESS, Readiness
from tests.unit.api.conftest import Api, MakeApi
from tests.unit.api.fakes import STUDENT


async def test_health_asks_nobody(api: Api) -> None:
    api.world.away = {"postgres", "redis", "actors"}

    answer = await api.ask("GET", "/health", None)

    assert (answer.status, answer.body) == (200, {"status": "ok"})


@pytest.mark.parametrize(
    ("away", "status", "state"),
    [
        (set(), 200, "ok"),
        ({"redis"}, 200, "degraded"),
        ({"postgres"}, 503, "unavailable"),
        ({"actors"}, 503, "unavailable"),
        ({"redis", "postgres"}, 503, "unavailable"),
    ],
)
async def test_readiness_depends_on_what_is_vital(api: Api, away: set[str], status: int, state: str) -> None:
    api.world.away = away

    answer = await api.ask("GET", "/ready", None)

    assert (answer.status, answer.body["status"]) == (status, state)
    assert {name for name, check in answer.body["checks"].items() if check == "away"} == away


async def test_a_process_that_drains_is_not_ready(api: Api) -> None:
    api.app[READINESS].is_draining = True

    answer = await api.ask("GET", "/ready", None)

    assert (answer.status, answer.body["status"]) == (503, "draining")
    assert (await api.ask("GET", "/health", None)).status == 200


async def test_many_who_ask_at_once_are_one_probe() -> None:
    calls = 0

    async def probe() -> None:
        nonlocal calls
        calls += 1
        await asyncio.sleep(0.01)

    readiness = Readiness({"postgres": probe})
    answers = await asyncio.gather(*(readiness.check() for _ in range(100)))

    assert calls == 1
    assert {one.status for one in answers} == {"ok"}


async def test_a_probe_that_hangs_is_not_well(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("api.monitoring.readiness.PROBE_TIMEOUT_S", 0.02)
    readiness = Readiness({"redis": lambda: asyncio.sleep(60)})

    assert (await readiness.check()).status == "degraded"


async def test_metrics_are_parsable_and_have_the_actors_figures(api: Api) -> None:
    stats = ServiceStats()
    stats.turns = 3
    stats.outcomes["enrolled"] = 5
    for seconds in (0.0005, 0.003, 99.0):
        stats.turn_s.observe(seconds)
    api.world.actor_stats = [{"actor": "a-0", "inbox": 2, **stats.as_dict()}, {"actor": "a-1", "inbox": 4}]

    families = {one.name: one for one in text_string_to_metric_families(await api.metrics())}

    inbox = {sample.labels["actor"]: sample.value for sample in families["seatline_actor_inbox"].samples}
    assert inbox == {"a-0": 2, "a-1": 4}
    assert families["seatline_actor_turns"].samples[0].value == 3
    (enrolled,) = families["seatline_actor_outcomes"].samples
    assert (enrolled.labels, enrolled.value) == ({"actor": "a-0", "code": "enrolled"}, 5)
    turn = {sample.labels.get("le"): sample.value for sample in families["seatline_actor_turn_seconds"].samples}
    assert (turn["0.001"], turn["0.0025"], turn["0.005"], turn["2.5"], turn["+Inf"]) == (1, 1, 2, 2, 3)


async def test_metrics_go_on_without_the_actors(api: Api) -> None:
    api.world.away = {"actors"}

    answer = await api.ask("GET", "/metrics", None)

    assert answer.status == 200
    assert "process_resident_memory_bytes" in answer.text


async def test_a_flood_of_scrapes_asks_the_actors_once(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = 0

    async def collect() -> list[dict[str, object]]:
        nonlocal asked
        asked += 1
        await asyncio.sleep(0.01)
        return [{"actor": "a-0", "inbox": asked}]

    page = MetricsPage(api.app[METRICS].registry, collect)
    clock = 0.0
    monkeypatch.setattr("api.monitoring.metrics_page.time.monotonic", lambda: clock)
    pages = await asyncio.gather(*(page.text() for _ in range(100)))
    clock = 0.9
    pages.append(await page.text())
    assert asked == 1
    assert len(set(pages)) == 1
    clock = 1.1
    assert b'seatline_actor_inbox{actor="a-0"} 2.0' in await page.text()


TOKEN = "0123456789abcdef"


@pytest.mark.parametrize(
    "given", [None, "Bearer wrong", "Bearer", "", TOKEN, f"Basic {TOKEN}", f"Bearer {TOKEN}x", f"Bearer  {TOKEN}", "é"]
)
async def test_metrics_can_need_a_token(make_api: MakeApi, given: str | None) -> None:
    api = await make_api(metrics_token=TOKEN)
    api.world.away = {"redis"}
    headers = {} if given is None else {"Authorization": given}

    metrics = await api.ask("GET", "/metrics", None, headers=headers)
    ready = await api.ask("GET", "/ready", None, headers=headers)

    assert (metrics.status, metrics.code, metrics.headers["WWW-Authenticate"]) == (401, "unauthenticated", "Bearer")
    assert (ready.status, ready.body) == (200, {"status": "degraded", "checks": {}}), "no more than a balancer needs"
    assert (await api.ask("GET", "/metrics", STUDENT)).status == 401, "that of a user does not do"


async def test_who_has_the_token_is_shown_everything(make_api: MakeApi) -> None:
    api = await make_api(metrics_token=TOKEN)
    api.world.away = {"redis"}
    headers = {"Authorization": f"Bearer {TOKEN}"}

    assert "seatline_admission_limit" in (await api.ask("GET", "/metrics", None, headers=headers)).text
    assert (await api.ask("GET", "/ready", None, headers=headers)).body["checks"]["redis"] == "away"


async def test_latency_is_counted_by_template(api: Api) -> None:
    await api.ask("GET", "/api/sections/7", None)
    await api.ask("GET", "/api/sections/8", None)

    text = await api.metrics()

    assert 'seatline_http_request_seconds_count{method="GET",route="/api/sections/{id}"} 2.0' in text
