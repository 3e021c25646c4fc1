"""The decisions of the controller: members of the directory, heat, number of nodes, schedule, API servers."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cluster.config.schedule import parse_schedule, scheduled
from cluster.control.config import ControlConfig
from cluster.control.desired_state import desired_state, eligible, members
from cluster.control.heat import HeatLimits, HeatWatch
from cluster.control.journal import ControllerDecision, DecisionKind
from cluster.control.model import Node, Pulse
from cluster.control.names import placed
from cluster.control.rollout import api_step
from cluster.control.sizing import SizeLimits, Sizing, leavers
from tests.unit.allocator.test_heat import Load
from tests.unit.cluster.control.fakes import node

LABELS = st.sampled_from("abcd")
GENERATIONS = st.sampled_from(["", "old", "new"])


@st.composite
def section_actors(draw: st.DrawFn) -> str:
    """A name."""
    generation = draw(GENERATIONS)
    return f"sections-{draw(LABELS)}-{draw(st.integers(0, 1))}" + (f"-{generation}" if generation else "")


NAMES = st.sets(section_actors(), max_size=8)


@given(NAMES, NAMES, st.sets(LABELS), st.sets(LABELS), st.data())
def test_the_directory_is_never_emptied_and_never_has_anybody_who_is_not_there(
    wanted: set[str], before: set[str], living: set[str], draining: set[str], data: st.DataObject
) -> None:
    silent = st.sampled_from([0.0, 0.5, 5.0, 20.0, 100.0])
    silent_s = {name: data.draw(silent) for name in wanted | before if data.draw(st.booleans())}
    found = members(wanted, silent_s, tuple(sorted(before)), living, draining=draining)
    assert found.names or not before, "sections had owners, and now have none"
    joined = set(found.names) - before
    assert all(silent_s.get(name) == 0.0 and name in wanted for name in joined), "only who answers may join"
    if set(found.names) != before:
        assert found.reason
        dead = {name for name in found.names if (one := placed(name)) is not None and one.label not in living}
        assert not dead & before


@given(st.integers(1, 6), st.integers(0, 5))
def test_of_an_upgrade_either_all_or_nobody_is_new(count: int, ready: int) -> None:
    labels = [f"n{one}" for one in range(count)]
    old = tuple(f"sections-{label}-0-old" for label in labels)
    new = [f"sections-{label}-0-new" for label in labels]
    silent_s = dict.fromkeys((*old, *new[:ready]), 0.0)
    found = members(new, silent_s, old, set(labels))
    assert found.names == (tuple(new) if ready >= count else old)


def test_an_upgrade_does_not_wait_for_ever() -> None:
    silent_s = {"sections-a-0-old": 0.0, "sections-a-0-new": 0.0, "sections-b-0-new": 61.0}
    wanted = ["sections-a-0-new", "sections-b-0-new"]
    assert members(wanted, silent_s, ("sections-a-0-old",), {"a", "b"}).names == ("sections-a-0-new",)


def test_nodes_without_cpus_or_on_their_way_out_are_not_used() -> None:
    nodes = [node("a"), node("b", cpus=0), Node("c", "c", is_leaving=True), Node("d", "d", is_alive=False), node("e")]
    assert [one.label for one in eligible(nodes, {"e"})] == ["a"]


def test_the_desired_state_has_what_was_asked_for() -> None:
    config = ControlConfig(actors_per_node=2, api_servers_per_node=1, generation="f00d")
    desired = desired_state(config, [node("a"), node("b")])
    assert list(desired.section_actors) == [f"sections-{label}-{n}-f00d" for label in "ab" for n in range(2)]
    assert list(desired.api_servers) == ["api-a-0-f00d", "api-b-0-f00d"]
    assert {(placed(name) or node("x")).label for name in desired.section_actors} == {"a", "b"}


@given(st.sets(LABELS, min_size=1), st.sets(LABELS), st.data())
def test_an_api_server_goes_only_when_others_listen(new: set[str], old: set[str], data: st.DataObject) -> None:
    wanted = {f"api-{label}-0-new": node(label) for label in new}
    existing = {f"api-{label}-0-old" for label in old} | set(wanted)
    listening = {name for name in existing if data.draw(st.booleans())}
    step = api_step(wanted, existing, listening, (), may_replace=data.draw(st.booleans()))
    for name in step.end:
        label = name.split("-")[1]
        assert name not in wanted
        assert listening & wanted.keys() if label not in new else f"api-{label}-0-new" in listening
    assert not set(step.start) & listening


LIMITS = HeatLimits(hot_share=0.4, hot_per_s=100, hot_for_s=4, cool_for_s=10, pins_max=2)


def pooled(per_s: float, *hottest: tuple[int, float]) -> dict[str, Pulse]:
    """One pooled actor that says so, with everything under way at once."""
    return {"sections-a-0": Pulse(commands_per_s=per_s, others_per_s=per_s - hottest[0][1], hottest=hottest)}


def looks(watch: HeatWatch, pulses: dict[str, Pulse], pins: set[int], *, seconds: range) -> list[ControllerDecision]:
    """All that is decided meanwhile."""
    return [one for now in seconds for one in watch.decide(pulses, pins, float(now))]


def test_a_section_must_stay_hot_before_it_is_pinned() -> None:
    watch = HeatWatch(LIMITS)
    assert looks(watch, pooled(500, (7, 400)), set(), seconds=range(3)) == []
    assert looks(watch, pooled(50, (7, 40)), set(), seconds=range(3, 4)) == []
    assert looks(watch, pooled(500, (7, 400)), set(), seconds=range(4, 8)) == []
    (pin,) = looks(watch, pooled(500, (7, 400)), set(), seconds=range(8, 9))
    assert (pin.kind, pin.subject) == (DecisionKind.PIN, "7")


@pytest.mark.parametrize(
    ("per_s", "hottest", "why"),
    [
        (120.0, (7, 90.0), "not hot enough"),
        (5000.0, (7, 300.0), "a small share of its actor"),
        (300.0, (7, 300.0), "alone on its actor"),
        (300.0, (7, 290.0), "nearly alone"),
        (0.0, (7, 0.0), "nothing to do at all"),
    ],
)
def test_what_is_not_hot_enough_stays(per_s: float, hottest: tuple[int, float], why: str) -> None:
    assert looks(HeatWatch(LIMITS), pooled(per_s, hottest), set(), seconds=range(30)) == [], why


def pinned_in(rush: list[tuple[float, dict[int, int]]]) -> set[str]:
    """Who gets an actor if sections are asked for like this: for so many seconds, so many commands a second."""
    watch, load, found = HeatWatch(HeatLimits()), Load(), set()
    for seconds, per_s in rush:
        for _ in range(round(seconds)):
            load.run(1.0, per_s)
            pulse = Pulse.of_section_actor(load.heat.read(load.now, 10, 0))
            found |= {one.subject for one in watch.decide({"sections-a-0": pulse}, set(), load.now)}
    return found


EVERYBODY = dict.fromkeys(range(100, 200), 50)


@pytest.mark.parametrize(
    ("rush", "pinned"),
    [
        ([(20.0, {1: 5000, **EVERYBODY})], {"1"}),
        ([(20.0, {1: 3000, 2: 3000})], {"1", "2"}),
        ([(20.0, {1: 3000})], set()),
        ([(7.0, {1: 3000}), (7.0, {2: 3000}), (7.0, {3: 3000})], set()),
        ([(7.0, {1: 9000}), (7.0, {2: 1000}), (7.0, {3: 9000})], set()),
        ([(20.0, EVERYBODY), (20.0, {1: 5000})], set()),
        ([(20.0, EVERYBODY), (20.0, {1: 5000, **EVERYBODY})], {"1"}),
    ],
)
def test_a_section_is_kept_from_others_only_while_there_are_others(
    rush: list[tuple[float, dict[int, int]]], pinned: set[str]
) -> None:
    assert pinned_in(rush) == pinned


def test_the_number_of_pins_is_bounded_and_the_hottest_go_first() -> None:
    watch = HeatWatch(LIMITS)
    pulses = {
        f"sections-{label}-0": Pulse(commands_per_s=1.5 * per_s, others_per_s=0.5 * per_s, hottest=((one, per_s),))
        for one, (label, per_s) in enumerate({"a": 200.0, "b": 400.0, "c": 300.0}.items(), start=1)
    }
    decided = looks(watch, pulses, set(), seconds=range(5))
    assert [one.subject for one in decided] == ["2", "3"]
    assert looks(watch, pulses, {2, 3}, seconds=range(5, 20)) == []


def test_a_pinned_section_goes_back_only_when_it_is_well_below_the_threshold_for_long() -> None:
    watch = HeatWatch(LIMITS)
    lukewarm = {"section-7": Pulse(commands_per_s=70, hottest=((7, 70.0),))}
    cold = {"section-7": Pulse(commands_per_s=20, hottest=((7, 20.0),))}
    assert looks(watch, lukewarm, {7}, seconds=range(60)) == []
    assert looks(watch, cold, {7}, seconds=range(60, 70)) == []
    assert looks(watch, lukewarm, {7}, seconds=range(70, 71)) == []
    assert looks(watch, cold, {7}, seconds=range(71, 81)) == []
    (back,) = looks(watch, cold, {7}, seconds=range(81, 82))
    assert (back.kind, back.subject) == (DecisionKind.UNPIN, "7")


def test_of_an_actor_that_does_not_answer_nothing_is_concluded() -> None:
    watch = HeatWatch(LIMITS)
    assert looks(watch, {}, {7}, seconds=range(60)) == []
    looks(watch, pooled(500, (8, 400)), set(), seconds=range(60, 63))
    looks(watch, {}, set(), seconds=range(63, 64))
    assert [one.subject for one in looks(watch, pooled(500, (8, 400)), set(), seconds=range(64, 65))] == ["8"]


SIZES = SizeLimits(nodes_min=2, nodes_max=20, out_for_s=5, in_for_s=60)


def load(nodes: int, busy: float, waiting: int = 0) -> dict[str, dict[str, Pulse]]:
    """So many nodes with an API server each that is so busy."""
    return {f"n{one}": {f"api-n{one}-0": Pulse(busy=busy, waiting=waiting)} for one in range(nodes)}


def decide(sizing: Sizing, nodes: int, busy: float, seconds: range, waiting: int = 0) -> int:
    """What is wanted after these looks."""
    for now in seconds:
        sizing.decide(nodes, load(nodes, busy, waiting), float(now))
    return sizing.wanted


def test_it_grows_as_far_as_is_needed_and_not_on_a_peak() -> None:
    sizing = Sizing(SIZES, wanted=4)
    assert decide(sizing, 4, 0.95, range(4)) == 4
    assert decide(sizing, 4, 0.5, range(4, 5)) == 4
    assert decide(sizing, 4, 0.95, range(5, 11)) == 7


def test_what_waits_counts_however_idle_the_processes_are() -> None:
    assert decide(Sizing(SIZES, wanted=2), 2, 0.1, range(10), waiting=600) == 3


def test_it_does_not_ask_for_more_while_what_it_asked_for_is_on_its_way() -> None:
    sizing = Sizing(SIZES, wanted=4)
    assert decide(sizing, 4, 0.95, range(100)) == 7


def test_it_shrinks_slowly_and_node_by_node() -> None:
    sizing = Sizing(SIZES, wanted=5)
    assert decide(sizing, 5, 0.1, range(59)) == 5
    assert decide(sizing, 5, 0.1, range(59, 62)) == 4
    assert decide(sizing, 4, 0.1, range(62, 110)) == 4
    assert decide(sizing, 4, 0.1, range(110, 200)) == 3


def test_it_does_not_shrink_to_where_it_would_grow_again() -> None:
    assert decide(Sizing(SIZES, wanted=3), 3, 0.45, range(600)) == 3


@given(st.lists(st.tuples(st.integers(1, 30), st.floats(0, 1), st.integers(0, 5000)), max_size=50))
def test_it_stays_within_its_bounds(looks_at: list[tuple[int, float, int]]) -> None:
    sizing = Sizing(SIZES, wanted=3)
    for now, (nodes, busy, waiting) in enumerate(looks_at):
        sizing.decide(nodes, load(nodes, busy, waiting), now * 7.0)
        assert 2 <= sizing.wanted <= 20


def test_the_schedule_has_nodes_there_before_registration_opens() -> None:
    openings = parse_schedule("2027-01-15T08:00-08:00 8 nodes 15 min ahead for 3 h; 2027-01-16T08:00-08:00 4 nodes")
    opens = openings[0].opens_at
    sizing = Sizing(SIZES, openings, wanted=2)
    seen = {}
    for minutes in (-16, -15, 0, 179, 180, 24 * 60 - 15, 24 * 60 + 119, 24 * 60 + 120):
        sizing.wanted = 2
        sizing.decide(2, load(2, 0.3), opens + minutes * 60)
        seen[minutes] = sizing.wanted
    assert list(seen.values()) == [2, 8, 8, 8, 2, 4, 4, 2]
    assert "registration opens at 2027-01-15T16:00" in scheduled(openings, opens)[1]


@pytest.mark.parametrize(
    "text", ["soon 3 nodes", "2027-01-15T08:00 3 nodes", "2027-01-15T08:00Z nodes", "2027-01-15T08:00Z 0 nodes", "x"]
)
def test_a_schedule_that_is_not_understood_says_how_it_should_look(text: str) -> None:
    with pytest.raises(ValueError, match=r"nodes \[M min ahead\]|offset|at least 1"):
        parse_schedule(text)


def test_the_nodes_with_least_to_do_are_given_back() -> None:
    nodes = [node(label) for label in "abc"]
    assert leavers(nodes, 2, (), {"a": 5.0, "b": 1.0, "c": 9.0}) == ["b"]
    assert leavers(nodes, 1, {"a"}, {"b": 1.0, "c": 9.0}) == ["b"]
    assert leavers(nodes, 3, (), {}) == []
