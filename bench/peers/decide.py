"""The decision of one request on locked rows: the allocator's rules, then seats and the length of the waitlist."""

from __future__ import annotations

import time
from typing import NamedTuple, Protocol

from allocator.model.catalogue import SectionFacts
from allocator.model.commands import Enroll
from allocator.model.events import SeatTaken, StudentWaitlisted
from allocator.model.outcomes import Code, Outcome, Reason, ReasonCode, refused
from allocator.model.record import RegistrationRecord
from allocator.rules import FactsOf, reasons_against_enrolling


class SeatCounts(Protocol):
    """A row of section_seats."""

    capacity: int
    enrolled: int
    waitlisted: int
    last_place: int
    seq: int
    is_open: bool


class Decided(NamedTuple):
    """The outcome; after an enrolment also the event, and the student's record after it."""

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
) -> Decided:
    """Give a seat or a place on the waitlist, or refuse with every reason."""
    section_id, student_id = command.section_id, command.student_id
    if record is None:
        reason = Reason(ReasonCode.NOT_REGISTERED, "You have no registration record in this semester.")
        return Decided(refused(section_id, reason))
    reasons = reasons_against_enrolling(facts, record, facts_of, time.time())
    if not seats.is_open:
        reasons.append(Reason(ReasonCode.SECTION_CLOSED, "This section takes no more students."))
    seat = seats.enrolled < seats.capacity and seats.waitlisted == 0
    if not seat and not command.join_waitlist:
        reasons.append(Reason(ReasonCode.SECTION_FULL, "No seat is free."))
    elif not seat and facts.waitlist_limit is not None and seats.waitlisted >= facts.waitlist_limit:
        reasons.append(Reason(ReasonCode.WAITLIST_FULL, "No seat is free and the waitlist is full."))
    if reasons:
        return Decided(refused(section_id, *reasons))
    if seat:
        record.take_seat(section_id, facts.credits)
        taken = SeatTaken(section_id, seats.seq + 1, student_id, enrollment_id, facts.credits)
        return Decided(Outcome(Code.ENROLLED, section_id, enrollment_id), taken, record)
    place = seats.last_place + 1
    record.join_waitlist(section_id)
    waiting = StudentWaitlisted(section_id, seats.seq + 1, student_id, enrollment_id, place)
    return Decided(Outcome(Code.WAITLISTED, section_id, enrollment_id, place, seats.waitlisted + 1), waiting, record)
