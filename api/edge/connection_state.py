"""The states of a connection, and every transition from one to another.

`connection.py` moves by this table and by nothing else; what is not in the table cannot happen. A connection has at
most one request under way: whatever is pipelined, or odd in any other way, makes the connection aiohttp's for good.
"""

from __future__ import annotations

import enum


class State(enum.Enum):
    """Where a connection stands, which says what its next bytes are."""

    IDLE = "no request is under way; the next byte begins one"
    RECEIVING = "aiohttp receives the body of a request that has no answer yet"
    ANSWERED_EARLY = "aiohttp receives the rest of the body of a request that has its answer"
    HANDLED = "aiohttp has a whole request that has no answer yet"
    ADMITTED = "a whole request was admitted and waits for its turn to enter"
    EXPRESS = "the express lane has a whole request that has no answer yet"
    REFUSED_EARLY = "a request was refused before all of it came; its answer waits for the rest"
    REFUSED = "a whole request was refused; its answer waits for the budget"
    LEFT_TO_AIOHTTP = "aiohttp reads and answers everything from now on"

    __hash__ = object.__hash__  # quicker than the hash of the name, and looked up for every request


class Event(enum.Enum):
    """What happens to a connection."""

    WAS_ODD = "it is not certain where a request ends, or one came before the answer to the last"
    HEAD_PARSED = "aiohttp's parser took a request whose body is not all here"
    WHOLE_PARSED = "aiohttp's parser took a whole request, for its usual handler"
    BODY_ENDED = "the last byte of a body came"
    WAS_ADMITTED = "there is room for the request"
    OFFERED = "the express lane is offered the request"
    HANDED_BACK = "the express lane leaves the request to its usual handler"
    REFUSED_BEFORE_END = "the request is refused, and not all of it is here"
    REFUSAL_DELAYED = "there is no budget to write the refusal now"
    ANSWERED = "the answer is written"

    __hash__ = object.__hash__


TRANSITIONS: dict[State, dict[Event, State]] = {
    State.IDLE: {
        Event.WAS_ODD: State.LEFT_TO_AIOHTTP,
        Event.HEAD_PARSED: State.RECEIVING,
        Event.WHOLE_PARSED: State.HANDLED,
        Event.WAS_ADMITTED: State.ADMITTED,
        Event.OFFERED: State.EXPRESS,
        Event.REFUSED_BEFORE_END: State.REFUSED_EARLY,
        Event.REFUSAL_DELAYED: State.REFUSED,
        Event.ANSWERED: State.IDLE,  # refused at once
    },
    State.RECEIVING: {
        Event.BODY_ENDED: State.HANDLED,
        Event.ANSWERED: State.ANSWERED_EARLY,
        Event.WAS_ODD: State.LEFT_TO_AIOHTTP,
    },
    State.ANSWERED_EARLY: {
        Event.BODY_ENDED: State.IDLE,
        Event.WAS_ODD: State.LEFT_TO_AIOHTTP,
    },
    State.HANDLED: {
        Event.ANSWERED: State.IDLE,
        Event.WAS_ODD: State.LEFT_TO_AIOHTTP,
    },
    State.ADMITTED: {
        Event.OFFERED: State.EXPRESS,
        Event.WHOLE_PARSED: State.HANDLED,
        Event.WAS_ODD: State.LEFT_TO_AIOHTTP,
    },
    State.EXPRESS: {
        Event.ANSWERED: State.IDLE,
        Event.HANDED_BACK: State.HANDLED,
    },
    State.REFUSED_EARLY: {
        Event.ANSWERED: State.IDLE,
        Event.REFUSAL_DELAYED: State.REFUSED,
    },
    State.REFUSED: {
        Event.ANSWERED: State.IDLE,
    },
    State.LEFT_TO_AIOHTTP: {
        Event.ANSWERED: State.LEFT_TO_AIOHTTP,
    },
}


class ImpossibleTransitionError(Exception):
    """Something happened to a connection that cannot happen in its state: a bug."""

    def __init__(self, state: State, event: Event) -> None:
        super().__init__(f"{event.name} while {state.name}")
