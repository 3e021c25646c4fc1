"""The plan of a run, drawn from its seed: small enough to be reduced when a run fails."""

from __future__ import annotations

import enum
import random
from dataclasses import dataclass


class Fault(enum.Enum):
    """What can go wrong. Each run has a few of them, so that none always hides behind another."""

    CALL_LOST = "a call to an actor never arrives"
    CALL_LATE = "a call to an actor is given up and arrives all the same"
    REPLY_LOST = "an actor's reply never arrives"
    CALL_DOUBLED = "a call to an actor arrives twice"
    PARTITION = "an API process cannot reach an actor for a while"
    ACTOR_KILLED = "an actor dies and is started again"
    ACTOR_PAUSED = "an actor stands still, longer than its lease"
    ACTOR_ZOMBIE = "a paused actor is given up and replaced, and then goes on"
    SECTIONS_RELEASED = "an actor lets some of its sections go"
    API_KILLED = "an API process dies and is started again"
    MEMBERS_DIFFER = "an API process is started again with other actors in its directory"
    MEMBERS_CHANGE = "actors join and leave, and sections are handed over"
    PINNED = "a section is handed over to an actor of its own, and back"
    VIEW_LATE = "an API process learns late of a new view of the directory"
    CONTROLLER_KILLED = "the controller dies in the middle of a handover"
    SECTIONS_IDLE = "sections leave memory after a moment without a command"
    CLIENT_CUT = "a client loses its connection before the answer"
    POSTGRES_CUT = "a connection to Postgres breaks between two statements"
    COMMIT_LOST = "a connection breaks while COMMIT is under way: before it arrives, or after"
    COMMIT_LATE = "the client of a COMMIT has given up when it happens"
    POSTGRES_KILLED = "Postgres stops at once and comes back"
    REDIS_AWAY = "Redis does not answer"
    REDIS_FLUSHED = "Redis forgets everything"
    CLOCK_JUMP = "the wall clock of a process jumps by an hour"


@dataclass(frozen=True)
class Plan:
    """One run.

    Args:
        is_strict: nothing but seats can keep a student out, so that the waitlist's order can be checked to the letter;
            otherwise sections meet at the same time and credits are short.
        storm_s: how long faults happen; after it all is mended and everything must come to an end.
    """

    seed: int
    sections: int
    students: int
    steps: int
    actors: int
    apis: int
    is_strict: bool
    storm_s: float
    faults: tuple[Fault, ...]

    @classmethod
    def of(cls, seed: int) -> Plan:
        """The run of a seed."""
        chance = random.Random(seed)
        faults = tuple(fault for fault in Fault if chance.random() < 0.4)
        return cls(
            seed=seed,
            sections=chance.randint(1, 5),
            students=chance.randint(2, 12),
            steps=chance.randint(2, 8),
            actors=chance.randint(1, 3),
            apis=chance.randint(1, 3),
            is_strict=chance.random() < 0.5,
            storm_s=chance.uniform(2.0, 15.0),
            faults=faults,
        )
