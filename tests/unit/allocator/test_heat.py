"""Heat of sections, with a clock that the test controls."""

from __future__ import annotations

import pytest

from allocator.turns.heat import COLD_PER_S, MEMORY_S, Heat


class Load:
    """A drain loop that decides so many commands a second, in ten turns a second."""

    def __init__(self) -> None:
        self.now = 100.0
        self.heat = Heat(self.now)

    def run(self, seconds: float, per_s: dict[int, int], busy: float = 0.0) -> None:
        for _ in range(round(seconds * 10)):
            for section_id, rate in per_s.items():
                self.heat.decided([section_id] * (rate // 10))
            self.now += 0.1
            self.heat.worked(self.now - 0.1 * busy, self.now)


def test_a_steady_load_is_measured_as_it_is() -> None:
    load = Load()
    load.heat.activated([1, 2, 3], load.now)
    load.run(60.0, {1: 100, 2: 20}, busy=0.25)
    heat = load.heat.read(load.now, 10, inbox=7)
    assert dict(heat.hottest) == pytest.approx({1: 100, 2: 20}, rel=0.01)
    assert heat.commands_per_s == pytest.approx(120, rel=0.01)
    assert heat.busy == pytest.approx(0.25, rel=0.01)
    assert (heat.inbox, heat.sections) == (7, 3)


def test_a_burst_is_forgotten_in_some_seconds() -> None:
    load = Load()
    load.run(60.0, {1: 100}, busy=1.0)
    load.now += MEMORY_S
    assert load.heat.read(load.now, 1, 0).commands_per_s == pytest.approx(100 / 2.718, rel=0.1)
    load.now += 20 * MEMORY_S
    cold = load.heat.read(load.now, 1, 0)
    assert cold.hottest == []
    assert cold.commands_per_s < 0.01
    assert cold.busy < 0.01


def test_a_new_load_shows_within_seconds() -> None:
    load = Load()
    load.run(5.0, {1: 100})
    assert load.heat.read(load.now, 1, 0).commands_per_s > 50


def test_the_hottest_come_first_and_no_more_than_asked_for() -> None:
    load = Load()
    load.run(10.0, {section_id: section_id * 10 for section_id in range(1, 9)})
    assert [section_id for section_id, _ in load.heat.read(load.now, 3, 0).hottest] == [8, 7, 6]


def test_reading_twice_at_the_same_moment_counts_nothing_twice() -> None:
    load = Load()
    load.run(10.0, {1: 100})
    load.heat.decided([1] * 50)
    first = load.heat.read(load.now, 1, 0)
    assert load.heat.read(load.now, 1, 0) == first


def test_what_left_memory_is_neither_hot_nor_idle() -> None:
    load = Load()
    load.heat.activated([1, 2], load.now)
    load.run(10.0, {1: 100})
    load.heat.forget([1])
    heat = load.heat.read(load.now, 5, 0)
    assert (heat.hottest, heat.sections) == ([], 1)
    load.now += 100.0
    assert load.heat.idle(load.now, 50.0) == [2]


def test_idle_is_what_had_no_command_for_so_long_the_longest_first() -> None:
    load = Load()
    load.heat.activated([1, 2, 3], load.now)
    load.run(10.0, {2: 10})
    load.run(10.0, {3: 10})
    assert load.heat.idle(load.now, 15.0) == [1]
    assert load.heat.idle(load.now, 8.0) == [1, 2]
    load.heat.decided([1])
    assert load.heat.idle(load.now + 1.0, 8.0) == [2], "a command that was only just counted is a command"


def test_a_trickle_is_not_worth_a_memory_but_many_of_them_are_a_load() -> None:
    load = Load()
    for second in range(120):
        load.heat.decided(range(second * 500, second * 500 + 500))  # no section twice
        load.now += 1.0
        load.heat.worked(load.now, load.now)
    heat = load.heat.read(load.now, 10, 0)
    assert heat.commands_per_s == pytest.approx(500, rel=0.01)
    assert len(load.heat._rates) < 500 * MEMORY_S * 6
    load.now += MEMORY_S / COLD_PER_S
    assert load.heat.read(load.now, 10, 0).hottest == []
    assert load.heat._rates == {}
