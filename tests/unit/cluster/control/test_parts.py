"""The parts of the controller, one by one: publication, background tasks, names, generations, what an operator sees."""

from __future__ import annotations

import asyncio
import io

import pytest
from pydantic import SecretStr
from rich.console import Console

from api.monitoring.metrics import Traffic
from api.monitoring.usage import Usage, quantile_ms
from api.resources.enrollments import ENROLL_ROUTE
from cluster.cli.status_view import status_view
from cluster.config.settings import ConfigurationError, Placement, read_settings
from cluster.control.background_tasks import BackgroundTasks
from cluster.control.config import ControlConfig
from cluster.control.journal import DecisionKind
from cluster.control.misplaced import move_misplaced
from cluster.control.names import own_section, placed
from cluster.control.publication import Publication
from cluster.gateway.errors import ActorLostError
from cluster.processes.generation import generation_of
from cluster.processes.node import NodeConfig
from tests.unit.cluster.control.fakes import FakeClock, World, node


async def test_whoever_waits_gets_the_next_view_at_once() -> None:
    published = Publication(Placement.AUTO, FakeClock().now)
    waiting = asyncio.create_task(published.newer(0, 5.0))
    await asyncio.sleep(0)
    view = published.publish(("sections-a-0",), {7: "section-7"})
    assert await waiting is view
    assert await published.newer(0, 5.0) is view
    assert await published.newer(view.version, 0.01) is None


async def test_a_version_from_the_future_is_outbid() -> None:
    published = Publication(Placement.AUTO, FakeClock().now)
    first = published.publish(("a",), {})
    newer = await published.newer(first.version + 10**9, 1.0)
    assert newer is not None
    assert newer.version > first.version + 10**9
    assert newer.pooled == ("a",)


async def test_a_background_task_runs_once_at_a_time_and_rests_after_a_failure() -> None:
    clock = FakeClock()
    tasks = BackgroundTasks(clock.monotonic)
    done = 0

    async def fail() -> None:
        nonlocal done
        done += 1
        raise ActorLostError("gone")

    assert tasks.begin("x", fail)
    assert not tasks.begin("x", fail)
    assert tasks.begin("y", fail)
    await tasks.idle()
    assert not tasks.begin("x", fail), "it failed just now"
    clock.time += 1.1
    assert tasks.begin("x", fail)
    await tasks.idle()
    clock.time += 1.1
    assert not tasks.begin("x", fail), "it rests longer each time"
    assert done == 3


async def test_a_bug_in_a_background_task_ends_no_other() -> None:
    tasks = BackgroundTasks(FakeClock().monotonic)

    async def bug() -> None:
        raise KeyError("bug")

    async def work() -> None:
        await asyncio.sleep(0)

    assert tasks.begin("bug", bug)
    assert tasks.begin("work", work)
    await tasks.idle()
    assert tasks.begin("work", work)
    await tasks.close()


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("sections-local-0", (False, "local", "")),
        ("sections-0a1b2c3d4e5f-12-f00dcafe", (False, "0a1b2c3d4e5f", "f00dcafe")),
        ("api-0a1b2c3d4e5f-0-f00dcafe", (True, "0a1b2c3d4e5f", "f00dcafe")),
    ],
)
def test_a_name_says_what_where_and_of_which_generation(name: str, expected: tuple[bool, str, str]) -> None:
    found = placed(name)
    assert found is not None
    assert (found.is_api, found.label, found.generation) == expected
    assert own_section(name) is None


@pytest.mark.parametrize("name", ["section-7", "controller", "sections-", "api-x", "section-x", "sections-a-0 "])
def test_other_names_belong_on_no_node(name: str) -> None:
    assert placed(name) is None
    assert own_section(name) == (7 if name == "section-7" else None)


def test_code_and_settings_make_a_generation() -> None:
    settings = read_settings(port=8080, home="here")
    config = NodeConfig(settings, "postgresql://a", "redis://a", "secret")
    first = generation_of(config)
    assert generation_of(NodeConfig(settings, "postgresql://a", "redis://a", "secret")) == first
    assert generation_of(NodeConfig(settings.model_copy(update={"home": "there"}), *_rest())) == first
    changed = [
        NodeConfig(settings.model_copy(update={"batch_max": 7}), *_rest()),
        NodeConfig(settings, "postgresql://b", "redis://a", "secret"),
        NodeConfig(settings, "postgresql://a", "redis://a", "another"),
        NodeConfig(settings.model_copy(update={"metrics_token": SecretStr("a" * 16)}), *_rest()),
        NodeConfig(settings.model_copy(update={"metrics_token": SecretStr("b" * 16)}), *_rest()),
    ]
    assert len({first, *map(generation_of, changed)}) == 6
    assert placed(f"sections-a-0-{first}") is not None


def _rest() -> tuple[str, str, str]:
    return "postgresql://a", "redis://a", "secret"


@pytest.mark.parametrize(
    ("settings", "named"),
    [({"schedule": "at eight"}, "SEATLINE_SCHEDULE"), ({"nodes_min": 5, "nodes_max": 4}, "SEATLINE_NODES_MIN")],
)
def test_settings_of_nodes_that_cannot_be_are_refused(settings: dict[str, object], named: str) -> None:
    with pytest.raises(ConfigurationError, match=named):
        read_settings(**settings)


async def test_moving_goes_on_around_an_actor_that_does_not_answer() -> None:
    world = World(node("a"), node("b"))
    await world.steps(3)
    view = world.controller.view
    assert view is not None
    world.cluster.actors["sections-a-0"].sections = set(range(1, 101))
    world.cluster.actors["sections-b-0"].answers = False
    moved = await move_misplaced(world.cluster, view, ["sections-a-0", "sections-b-0"])
    assert moved.silent == {"sections-b-0"}
    assert 0 < moved.misplaced < 100


async def test_an_operator_sees_nodes_actors_and_decisions() -> None:
    world = World(node("a"), node("b"), config=ControlConfig(port=8080))
    await world.steps(3)
    world.controller.drain("b", "for repair")
    await world.steps(1)
    said = world.controller.status()
    assert [one["label"] for one in said["nodes"]] == ["a", "b"]
    assert {one["name"]: one["is_member"] for one in said["actors"]} == {
        "api-a-0": False,
        "api-b-0": False,
        "sections-a-0": True,
        "sections-b-0": False,
    }
    assert said["decisions"][-1]["kind"] in {DecisionKind.RETIRE, DecisionKind.VIEW}
    screen = Console(file=io.StringIO(), width=160)
    screen.print(status_view(said))
    shown = screen.file.getvalue()  # type: ignore[attr-defined]
    assert "draining: for repair" in shown
    assert "sections-b-0" in shown
    assert "leaving" in shown


def test_the_ninety_ninth_percentile_is_the_bound_of_its_bucket() -> None:
    assert quantile_ms([0] * 13, 0.99) == 0.0
    assert quantile_ms([98, 2] + [0] * 11, 0.99) == 5.0
    assert quantile_ms([0] * 12 + [1], 0.99) == 10_000.0


def test_usage_counts_since_the_last_look(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = FakeClock()
    monkeypatch.setattr("api.monitoring.usage.time.monotonic", clock.monotonic)
    usage, traffic = Usage(ENROLL_ROUTE.key), Traffic()
    for _ in range(10):
        traffic.observe(*ENROLL_ROUTE.key, 201, 0.004)
    clock.time += 2.0
    busy, per_s, p99_ms = usage.read(traffic)
    assert 0.0 <= busy <= 1.0
    assert (per_s, p99_ms) == (5.0, 5.0)
    clock.time += 1.0
    assert usage.read(traffic)[1:] == (0.0, 0.0)
