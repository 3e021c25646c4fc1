"""The table of a connection's states: complete, closed, and with a way back from every state but the last."""

from __future__ import annotations

from typing import get_args

import pytest

from api.edge.connection_state import TRANSITIONS, Event, State

STATES: tuple[State, ...] = get_args(State)
EVENTS: tuple[Event, ...] = get_args(Event)


def reachable(start: State) -> set[State]:
    found, new = {start}, [start]
    while new:
        follow = set(TRANSITIONS[new.pop()].values()) - found
        found |= follow
        new += follow
    return found


def test_every_state_and_event_is_in_the_table() -> None:
    assert set(TRANSITIONS) == set(STATES)
    assert {event for row in TRANSITIONS.values() for event in row} == set(EVENTS)
    assert reachable("idle") == set(STATES)


@pytest.mark.parametrize("state", [state for state in STATES if state != "left to aiohttp"])
def test_a_connection_can_always_serve_another_request(state: State) -> None:
    assert "idle" in reachable(state)


def test_what_is_left_to_aiohttp_stays_with_it() -> None:
    assert reachable("left to aiohttp") == {"left to aiohttp"}


@pytest.mark.parametrize("state", ["admitted", "express", "refused"])
def test_only_an_answer_or_a_handler_ends_the_wait_of_what_comes_early(state: State) -> None:
    """In these states bytes are kept for later; whatever follows reads them, or keeps them on."""
    assert set(TRANSITIONS[state].values()) <= {"idle", "handled", "express", "left to aiohttp"}
