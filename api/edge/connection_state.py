"""The states of a connection, and every transition from one to another.

`connection.py` moves by this table and by nothing else; what is not in the table cannot happen. A connection has at
most one request under way: whatever is pipelined, or odd in any other way, makes the connection aiohttp's for good.

States and events are literals, not enums: to look up the member of an enum costs more than a transition, and a request
has several of both. mypy knows them all the same.
"""

from __future__ import annotations

from typing import Literal

State = Literal[
    "idle",  # no request is under way; the next byte begins one
    "receiving",  # aiohttp receives the body of a request that has no answer yet
    "answered early",  # aiohttp receives the rest of the body of a request that has its answer
    "handled",  # aiohttp has a whole request that has no answer yet
    "admitted",  # a whole request was admitted and waits for its turn to enter
    "express",  # the express lane has a whole request that has no answer yet
    "refused early",  # a request was refused before all of it came; its answer waits for the rest
    "refused",  # a whole request was refused; its answer waits for the budget
    "left to aiohttp",  # aiohttp reads and answers everything from now on
]
"""Where a connection stands, which says what to do with its next bytes."""

Event = Literal[
    "odd",  # it is not certain where a request ends, or one came before the answer to the last
    "head parsed",  # aiohttp's parser took a request whose body is not all here
    "whole parsed",  # aiohttp's parser took a whole request, for its usual handler
    "body ended",  # the last byte of a body came
    "admitted",  # there is room for the whole request
    "offered",  # the express lane is offered the whole request
    "handed back",  # the express lane leaves the request to its usual handler
    "refused before its end",  # the request is refused, and not all of it is here
    "refusal delayed",  # there is no budget to write the refusal now
    "answered",  # the answer is written
]
"""What happens to a connection."""

TRANSITIONS: dict[State, dict[Event, State]] = {
    "idle": {
        "odd": "left to aiohttp",
        "head parsed": "receiving",
        "whole parsed": "handled",
        "admitted": "admitted",
        "offered": "express",
        "refused before its end": "refused early",
        "refusal delayed": "refused",
        "answered": "idle",  # refused at once
    },
    "receiving": {"body ended": "handled", "answered": "answered early", "odd": "left to aiohttp"},
    "answered early": {"body ended": "idle", "odd": "left to aiohttp"},
    "handled": {"answered": "idle", "odd": "left to aiohttp"},
    "admitted": {"offered": "express", "whole parsed": "handled", "odd": "left to aiohttp"},
    "express": {"answered": "idle", "handed back": "handled"},
    "refused early": {"answered": "idle", "refusal delayed": "refused"},
    "refused": {"answered": "idle"},
    "left to aiohttp": {"answered": "left to aiohttp"},
}


class ImpossibleTransitionError(Exception):
    """Something happened to a connection that cannot happen in its state: a bug."""

    def __init__(self, state: State, event: Event) -> None:
        super().__init__(f"{event!r} while {state!r}")
