"""The decision of one request on locked rows: the allocator's rules, then seats and the length of the waitlist."""

from __future__ import annotations

import time
from typing import NamedTuple, Protocol

from allocator.model.catalogue import SectionFacts
from allocator.model.commands import Enroll
from allocator.model.events import SeatTaken, StudentWaitlisted
from allocator.model.outcomes import Code, Outcome, refused
from allocator.model.record import RegistrationRecord
from allocator.rules.case import Case, FactsOf, Moment
from allocator.rules.table import Judge
from allocator.turns.decision import NOT_REGISTERED

_judge = Judge()


class SeatCounts(Protocol):
    """A row of section_seats."""

    capacity: int
    enrolled: int
    waitlisted: int
    last_place: int
    seq: int
    is_open: bool


class PeerDecision(NamedTuple):
    """The outcome; and, if something was given, the event and the student's record after it."""

    outcome: Outcome
    event: SeatTaken | StudentWaitlisted | None = None
    record: RegistrationRecord | None = None


def decide(
    command: Enroll,
    seats: SeatCounts,
    facts: SectionFacts,
    record: RegistrationRecord | None,
    facts_of: FactsOf,
    enrollment_id: int,
) -> PeerDecision:
    """Give a seat, or a place on the waitlist, or every reason why neither."""
    section_id, student_id = command.section_id, command.student_id
    if record is None:
        return PeerDecision(refused(section_id, NOT_REGISTERED))
    held = [facts_of(one) for one in record.enrolled]
    case = Case(facts, record, held, time.time(), seats.is_open, seats.waitlisted, command.join_waitlist)
    gets_seat = seats.enrolled < seats.capacity and seats.waitlisted == 0
    reasons = _judge.at(Moment.ADD if gets_seat else Moment.WAIT)(case)
    if reasons:
        return PeerDecision(refused(section_id, *reasons))
    if gets_seat:
        taken = SeatTaken(section_id, seats.seq + 1, student_id, enrollment_id, facts.credits)
        record.apply(taken)
        return PeerDecision(Outcome(Code.ENROLLED, section_id, enrollment_id), taken, record)
    place = seats.last_place + 1
    waiting = StudentWaitlisted(section_id, seats.seq + 1, student_id, enrollment_id, place)
    record.apply(waiting)
    return PeerDecision(
        Outcome(Code.WAITLISTED, section_id, enrollment_id, place, seats.waitlisted + 1), waiting, record
    )
