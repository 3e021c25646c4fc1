"""Forwarding: the new owner of a section is named for a short time only."""

from __future__ import annotations

from allocator.turns.forwarding import FORWARDING_S, Forwarding


def test_a_successor_is_named_until_its_time_is_over() -> None:
    forwarding = Forwarding()
    forwarding.set({1: "b", 2: "c"}, 10.0)
    assert forwarding.among([1, 2, 3], 10.0) == {1: "b", 2: "c"}
    assert forwarding.among([1], 10.0 + FORWARDING_S - 0.01) == {1: "b"}
    assert forwarding.among([1, 2], 10.0 + FORWARDING_S) == {}


def test_what_is_wanted_again_has_none() -> None:
    forwarding = Forwarding()
    forwarding.set({1: "b", 2: "b"}, 10.0)
    forwarding.clear([1, 3])
    assert forwarding.among([1, 2, 3], 10.0) == {2: "b"}


def test_the_last_successor_counts_and_the_old_ones_are_not_kept() -> None:
    forwarding = Forwarding()
    forwarding.set(dict.fromkeys(range(1000), "b"), 10.0)
    forwarding.set({1: "c"}, 11.0)
    assert forwarding.among([1, 2], 11.0) == {1: "c", 2: "b"}
    forwarding.set({2000: "d"}, 11.0 + FORWARDING_S)
    assert len(forwarding._successors) == 1
