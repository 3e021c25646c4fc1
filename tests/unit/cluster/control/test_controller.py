"""The controller on a cluster in memory: nodes and actors that come, go, hang and die."""

from __future__ import annotations

from dataclasses import replace

from cluster.config.settings import Placement
from cluster.control.config import ControlConfig
from cluster.control.heat import HeatLimits
from cluster.control.journal import DecisionKind
from cluster.control.model import Pulse
from cluster.control.sizing import SizeLimits
from cluster.gateway.directory import owner_in
from tests.unit.cluster.control.fakes import FakeActor, World, node


def reasons(world: World, kind: DecisionKind) -> list[str]:
    """Of all decisions of a kind."""
    return [one.reason for one in world.controller.decisions if one.kind is kind]


def spread(world: World, count: int) -> None:
    """Activate sections where the directory places them."""
    view = world.controller.view
    assert view is not None
    for section_id in range(1, count + 1):
        owner = owner_in(view, section_id)
        assert owner is not None
        world.cluster.actors[owner].sections.add(section_id)


def misplaced(world: World) -> list[int]:
    """Active sections that are not where they should be."""
    view = world.controller.view
    assert view is not None
    return [
        one for name, actor in world.cluster.actors.items() for one in actor.sections if owner_in(view, one) != name
    ]


def active(world: World) -> int:
    """Active sections in all."""
    return sum(len(actor.sections) for actor in world.cluster.actors.values())


async def test_every_node_gets_its_actors_and_all_is_served() -> None:
    world = World(node("a"), node("b"), node("head", cpus=0))
    await world.steps(3)
    assert world.cluster.pooled() == ["sections-a-0", "sections-b-0"]
    assert world.cluster.api() == ["api-a-0", "api-b-0"]
    assert world.pooled == ("sections-a-0", "sections-b-0")
    assert world.controller.serving_port() == 8080


async def test_a_cluster_that_cannot_be_asked_changes_nothing() -> None:
    world = World(node("a"), node("b"))
    await world.steps(3)
    before, starts = world.controller.view, list(world.cluster.starts)
    world.cluster.is_away = True
    await world.steps(30)
    assert world.controller.view is before
    assert world.cluster.starts == starts
    assert world.cluster.stops == []


async def test_only_declared_nodes_are_used_if_any_declares_itself() -> None:
    world = World(node("a", declared=True), node("b"))
    await world.steps(3)
    assert world.cluster.pooled() == ["sections-a-0"]


async def test_a_node_that_joins_takes_only_its_share() -> None:
    world = World(node("a"), node("b"))
    await world.steps(3)
    spread(world, 1000)
    before = {name: set(world.cluster.actors[name].sections) for name in world.pooled}
    world.cluster.known["c"] = node("c")
    await world.steps(6)
    assert world.pooled == ("sections-a-0", "sections-b-0", "sections-c-0")
    assert misplaced(world) == []
    assert active(world) == 1000
    for name, had in before.items():
        assert world.cluster.actors[name].sections <= had, "a section moved between the old actors"
    assert 250 < len(world.cluster.actors["sections-c-0"].sections) < 420


async def test_a_dead_node_leaves_the_directory_at_the_next_look() -> None:
    world = World(node("a"), node("b"))
    await world.steps(3)
    world.cluster.lose("b")
    await world.steps(1)
    assert world.pooled == ("sections-a-0",)
    assert reasons(world, DecisionKind.NODE_LOST)
    assert world.store.buried == ["sections-b-0"], "its leases may not be waited for, should it live on unseen"
    assert "its node is gone" in reasons(world, DecisionKind.VIEW)[-1]


async def test_an_actor_that_restarts_on_its_node_keeps_its_sections() -> None:
    world = World(node("a"), node("b"))
    await world.steps(3)
    before = world.controller.view
    world.cluster.actors["sections-b-0"].answers = False
    await world.steps(5)
    world.cluster.actors["sections-b-0"].answers = True
    await world.steps(2)
    assert world.controller.view is before


async def test_an_actor_that_stays_silent_loses_its_sections() -> None:
    world = World(node("a"), node("b"))
    await world.steps(3)
    world.cluster.actors["sections-b-0"].answers = False
    await world.steps(20)
    assert world.pooled == ("sections-a-0",)


async def test_the_last_actor_stays_in_the_directory_even_silent() -> None:
    world = World(node("a"))
    await world.steps(3)
    world.cluster.actors["sections-a-0"].answers = False
    await world.steps(40)
    assert world.pooled == ("sections-a-0",)


async def test_what_died_is_started_again() -> None:
    world = World(node("a"))
    await world.steps(3)
    del world.cluster.actors["api-a-0"]
    del world.cluster.actors["sections-a-0"]
    await world.steps(3)
    assert world.cluster.api() == ["api-a-0"]
    assert world.cluster.pooled() == ["sections-a-0"]
    assert world.controller.serving_port() == 8080


async def test_what_cannot_start_is_tried_again_ever_more_seldom() -> None:
    world = World(node("a"), node("b"))
    world.cluster.refuses = {"sections-b-0"}
    await world.steps(60)
    tries = world.cluster.starts.count("sections-b-0")
    assert 4 <= tries <= 8
    assert list(world.pooled) == ["sections-a-0"]
    world.cluster.refuses = set()
    await world.steps(32)
    assert world.pooled == ("sections-a-0", "sections-b-0")


async def test_a_drained_node_is_left_and_nothing_stays_on_it() -> None:
    world = World(node("a"), node("b"))
    await world.steps(3)
    spread(world, 100)
    world.controller.drain("b", "an operator says so")
    await world.steps(8)
    assert [name for name, actor in world.cluster.actors.items() if actor.label == "b"] == []
    assert list(world.pooled) == ["sections-a-0"]
    assert len(world.cluster.actors["sections-a-0"].sections) == 100
    world.controller.undrain("b", "it may stay")
    await world.steps(4)
    assert world.pooled == ("sections-a-0", "sections-b-0")


async def test_the_load_balancer_knows_who_listens() -> None:
    world = World(node("a"), node("b"))
    await world.steps(4)
    a, b = (world.cluster.known[label].address for label in "ab")
    assert world.balancer.targets == {(a, 8080), (b, 8080)}
    world.controller.drain("b", "for repair")
    await world.steps(1)
    assert world.balancer.targets == {(a, 8080)}
    world.cluster.lose("a")
    await world.steps(3)
    assert world.balancer.targets == {(a, 8080)}, "not the last one, while anything may come back"
    await world.controller.close()
    await world.controller.withdraw(1.0)
    assert world.balancer.targets == set(), "at the end that one too"


async def test_a_load_balancer_that_is_away_at_the_end_does_not_hold_it_up() -> None:
    world = World(node("a"))
    await world.steps(3)
    world.balancer.is_away = True
    await world.controller.close()
    await world.controller.withdraw(1.0)
    assert len(world.balancer.targets) == 1, "nobody could be told"


async def test_what_the_load_balancer_may_have_heard_is_taken_back_too() -> None:
    world = World(node("a"))
    world.balancer.loses_answers = True
    await world.steps(3)
    assert len(world.balancer.targets) == 1
    world.balancer.loses_answers = False
    await world.controller.close()
    await world.controller.withdraw(1.0)
    assert world.balancer.targets == set()


async def test_a_load_balancer_that_is_away_holds_nothing_up_and_is_told_later() -> None:
    world = World(node("a"), node("b"))
    world.balancer.is_away = True
    await world.steps(3)
    assert world.controller.serving_port() == 8080
    assert world.balancer.targets == set()
    world.balancer.is_away = False
    await world.steps(10)
    assert len(world.balancer.targets) == 2


async def test_an_upgrade_takes_the_place_of_dedicated_actors_too() -> None:
    config = ControlConfig(port=8080, placement=Placement.DEDICATED, actors_per_node=0, generation="old")
    world = World(node("a"), config=config)
    await world.steps(3)
    world.cluster.actors["section-1"] = FakeActor("a", sections={1})
    world.config = replace(config, generation="new")
    world.new_controller()
    await world.steps(12)
    assert world.cluster.api() == ["api-a-0-new"]
    assert "section-1" in world.cluster.stops
    world.cluster.actors["section-1"] = FakeActor("a", sections={1})  # an API server of the new version made it
    await world.steps(10)
    assert "section-1" in world.cluster.actors


async def test_the_only_node_serves_on_however_it_is_drained() -> None:
    world = World(node("a"))
    await world.steps(3)
    world.controller.drain("a", "by mistake")
    await world.steps(10)
    assert world.cluster.api() == ["api-a-0"]
    assert world.pooled == ("sections-a-0",)
    assert world.cluster.stops == []


async def test_an_actor_is_not_ended_while_an_api_server_does_not_know() -> None:
    world = World(node("a"), node("b"))
    await world.steps(3)
    known = world.cluster.version
    world.controller.drain("b", "test")
    for _ in range(10):
        await world.steps(1)
        world.cluster.version = known  # nobody hears of the new view
    assert "sections-b-0" not in world.cluster.stops
    await world.steps(4)
    assert "sections-b-0" in world.cluster.stops


async def test_versions_rise_over_restarts_even_without_memory_and_with_a_clock_set_back() -> None:
    world = World(node("a"))
    await world.steps(3)
    first = world.controller.version
    world.store.kept = None
    world.clock.time -= 50_000
    world.new_controller()
    await world.steps(3)
    assert world.controller.version > first
    assert world.pooled == ("sections-a-0",)


async def test_a_new_controller_takes_up_what_the_old_one_decided() -> None:
    world = World(node("a"), node("b"))
    await world.steps(3)
    world.controller.drain("b", "for repair")
    await world.steps(8)
    starts = len(world.cluster.starts)
    world.new_controller()
    await world.steps(5)
    assert dict(world.controller.nodes.draining) == {"b": "for repair"}
    assert len(world.cluster.starts) == starts


async def test_a_label_that_is_used_again_is_not_drained_for_its_predecessor() -> None:
    world = World(replace(node("local"), node_id="1"), node("b"))
    await world.steps(3)
    world.controller.drain("local", "for repair")
    await world.steps(3)
    world.cluster.known["local"] = replace(node("local"), node_id="2")
    world.new_controller()
    await world.steps(4)
    assert dict(world.controller.nodes.draining) == {}
    assert "sections-local-0" in world.pooled


async def test_an_upgrade_switches_when_all_new_ones_are_ready_and_ends_the_old() -> None:
    world = World(node("a"), node("b"), config=ControlConfig(generation="old", port=8080))
    await world.steps(3)
    spread(world, 200)
    world.config = replace(world.config, generation="new")
    world.new_controller()
    world.cluster.refuses = {"sections-b-0-new"}
    await world.steps(4)
    assert world.pooled == ("sections-a-0-old", "sections-b-0-old")
    assert world.cluster.api() == ["api-a-0-old", "api-b-0-old"]
    world.cluster.refuses = set()
    await world.steps(20)
    assert world.pooled == ("sections-a-0-new", "sections-b-0-new")
    assert world.cluster.pooled() == ["sections-a-0-new", "sections-b-0-new"]
    assert world.cluster.api() == ["api-a-0-new", "api-b-0-new"]
    assert misplaced(world) == []
    assert active(world) == 200
    assert world.controller.serving_port() == 8080


async def test_in_an_upgrade_older_section_actors_stay_while_an_older_server_may_call_them() -> None:
    """It may be unable to learn that the sections have moved: then it knows of no other actors."""
    world = World(node("a"), config=ControlConfig(generation="old", port=8080))
    await world.steps(3)
    spread(world, 20)
    world.config = replace(world.config, generation="new")
    world.new_controller()
    world.cluster.drains = {"api-a-0-old"}
    await world.steps(20)
    assert "api-a-0-old" in world.cluster.stops
    assert world.cluster.pooled() == ["sections-a-0-new", "sections-a-0-old"]
    world.cluster.drains = set()
    await world.steps(10)
    assert world.cluster.api() == ["api-a-0-new"]
    assert world.cluster.pooled() == ["sections-a-0-new"]


async def test_in_an_upgrade_no_node_is_without_a_listening_server() -> None:
    world = World(node("a"), node("b"), config=ControlConfig(generation="old", port=8080))
    await world.steps(3)
    world.config = replace(world.config, generation="new")
    world.new_controller()
    for _ in range(20):
        await world.steps(1)
        assert {world.cluster.actors[name].label for name in world.cluster.api()} == {"a", "b"}
    ends = [name for name in world.cluster.stops if name.startswith("api-")]
    assert ends == ["api-a-0-old", "api-b-0-old"]


HEAT = HeatLimits(hot_share=0.4, hot_per_s=50, hot_for_s=3, cool_for_s=5)


def heat_up(world: World, section_id: int, per_s: float) -> None:
    """The actor that has the section says that it is this hot."""
    for actor in world.cluster.actors.values():
        if section_id in actor.sections:
            actor.pulse = Pulse(
                busy=0.5, commands_per_s=per_s * 1.25, others_per_s=per_s * 0.25, hottest=((section_id, per_s),)
            )
        else:
            actor.pulse = replace(actor.pulse, busy=0.0, commands_per_s=0.0, hottest=())


async def test_auto_gives_a_hot_section_an_actor_and_takes_it_back() -> None:
    world = World(node("a"), node("b"), config=ControlConfig(port=8080, heat=HEAT))
    await world.steps(3)
    spread(world, 50)
    for _ in range(7):
        heat_up(world, 7, 400.0)
        await world.steps(1)
    view = world.controller.view
    assert view is not None
    assert dict(view.pins) == {7: "section-7"}
    assert world.cluster.actors["section-7"].sections == {7}
    for _ in range(12):
        heat_up(world, 7, 1.0)
        await world.steps(1)
    assert dict((world.controller.view or view).pins) == {}
    assert "section-7" not in world.cluster.actors
    assert misplaced(world) == []
    assert active(world) == 50


async def test_pooled_placement_pins_nothing() -> None:
    world = World(node("a"), config=ControlConfig(port=8080, heat=HEAT, placement=Placement.POOLED))
    await world.steps(3)
    spread(world, 50)
    for _ in range(10):
        heat_up(world, 7, 400.0)
        await world.steps(1)
    assert "section-7" not in world.cluster.actors


async def test_a_hot_section_whose_actor_dies_goes_back_to_the_others() -> None:
    world = World(node("a"), config=ControlConfig(port=8080, heat=HEAT))
    await world.steps(3)
    spread(world, 50)
    for _ in range(7):
        heat_up(world, 7, 400.0)
        await world.steps(1)
    del world.cluster.actors["section-7"]
    await world.steps(1)
    view = world.controller.view
    assert view is not None
    assert dict(view.pins) == {}


async def test_dedicated_placement_needs_no_pooled_actors() -> None:
    world = World(node("a"), config=ControlConfig(port=8080, placement=Placement.DEDICATED, actors_per_node=0))
    await world.steps(3)
    assert world.pooled == ()
    assert world.controller.serving_port() == 8080
    world.cluster.actors["section-1"] = world.cluster.actors["api-a-0"]
    await world.steps(20)
    assert world.cluster.stops == []


SIZE = SizeLimits(nodes_min=1, nodes_max=3, out_for_s=3, in_for_s=10)


async def test_load_asks_for_nodes_and_quiet_gives_them_back() -> None:
    world = World(node("a", declared=True), config=ControlConfig(port=8080, size=SIZE))
    await world.steps(3)

    async def busy(share: float, steps: int) -> None:
        for _ in range(steps):
            for actor in world.cluster.actors.values():
                actor.pulse = replace(actor.pulse, busy=share)
            await world.steps(1)

    await busy(0.95, 6)
    assert world.cluster.requested[-1] == (2, set())
    world.cluster.known["b"] = node("b", declared=True)
    await busy(0.95, 10)
    assert world.cluster.requested[-1] == (3, set())
    world.cluster.known["c"] = node("c", declared=True)
    await busy(0.5, 10)
    assert world.cluster.requested[-1] == (3, set())
    await busy(0.02, 14)
    (left,) = world.controller.nodes.draining
    assert world.cluster.requested[-1] == (2, {left}), "one that is left may not be kept in place of one that stays"
    await busy(0.02, 30)
    assert world.cluster.requested[-1] == (1, set(world.controller.nodes.draining))
    assert len({actor.label for actor in world.cluster.actors.values()}) == 1
    assert len(world.controller.nodes.draining) == 2


async def test_a_node_that_is_drained_does_not_count_for_what_is_asked_for() -> None:
    world = World(*(node(one, declared=True) for one in "abc"), config=ControlConfig(port=8080, size=SIZE))
    await world.steps(6)
    world.controller.drain("a", "for repair")
    await world.steps(2)
    assert world.cluster.requested[-1] == (3, {"a"}), "Ray starts another in its place"
    world.controller.undrain("a", "repaired")
    await world.steps(2)
    assert world.cluster.requested[-1] == (3, set())
    world.controller.drain("b", "for repair")
    await world.steps(2)
    world.cluster.lose("b")
    await world.steps(2)
    assert world.cluster.requested[-1] == (3, set()), "what is gone need not be named"


async def test_without_declared_nodes_nobody_is_asked_for_any() -> None:
    world = World(node("a"), config=ControlConfig(port=8080, size=SIZE))
    await world.steps(3)
    for actor in world.cluster.actors.values():
        actor.pulse = replace(actor.pulse, busy=1.0)
    await world.steps(20)
    assert world.cluster.requested == []


async def test_a_controller_that_starts_on_many_nodes_gives_none_back_at_once() -> None:
    world = World(*(node(one, declared=True) for one in "abc"), config=ControlConfig(port=8080, size=SIZE))
    await world.steps(6)
    assert dict(world.controller.nodes.draining) == {}
    assert world.cluster.requested == [(3, set())]


async def test_decisions_are_bounded_and_counted() -> None:
    world = World(node("a"))
    await world.steps(3)
    for _ in range(300):
        world.controller.drain("a", "x")
        world.controller.undrain("a", "y")
    assert len(world.controller.decisions) == 200
    assert world.controller.stats()["decisions"]["drain"] == 300
