"""One section: its seats, its waitlist, and every decision about them.

Nothing here waits or does I/O. A decision is made on a draft, a copy that applies its own events at once;
the draft becomes the section only after its events are committed.
"""

from __future__ import annotations

from typing import NamedTuple

from allocator.model.catalogue import SectionFacts
from allocator.model.commands import ChangeCapacity, CloseSection, Drop, Enroll, OpenSection, StaffCommand
from allocator.model.events import (
    CapacityChanged,
    Event,
    PromotionBlocked,
    SeatFreed,
    SeatTaken,
    SectionClosed,
    SectionCreated,
    SectionOpened,
    StudentPromoted,
    StudentWaitlisted,
    WaitlistLeft,
)
from allocator.model.outcomes import Code, Outcome, Reason, ReasonCode, refused
from allocator.model.record import RegistrationRecord
from allocator.model.waitlist import Waiting, Waitlist
from allocator.rules import FactsOf, reasons_against_enrolling, reasons_against_holding


class SectionState(NamedTuple):
    """What Postgres holds of a section when it is activated."""

    section_id: int
    epoch: int
    seq: int
    capacity: int
    enrolled: int
    is_open: bool
    last_place: int
    waiting: tuple[Waiting, ...]


class HeldEnrollment(NamedTuple):
    """An enrolment as it stands in Postgres. ``status`` is ``enrolled``, ``waitlisted`` or ``dropped``."""

    enrollment_id: int
    student_id: int
    section_id: int
    status: str
    credits: int


class Section:
    """The seats and the waitlist of one section, under one epoch."""

    __slots__ = ("capacity", "enrolled", "epoch", "events", "is_open", "section_id", "seq", "waitlist")

    def __init__(self, state: SectionState) -> None:
        self.section_id = state.section_id
        self.epoch = state.epoch
        self.seq = state.seq
        self.capacity = state.capacity
        self.enrolled = state.enrolled
        self.is_open = state.is_open
        self.waitlist = Waitlist(state.last_place, list(state.waiting))
        self.events: list[Event] = []

    def draft(self) -> Section:
        """A copy to decide on. Its ``events`` are what the decisions add to the section's history."""
        other = Section.__new__(Section)
        other.section_id = self.section_id
        other.epoch = self.epoch
        other.seq = self.seq
        other.capacity = self.capacity
        other.enrolled = self.enrolled
        other.is_open = self.is_open
        other.waitlist = self.waitlist.copy()
        other.events = []
        return other

    def state(self) -> SectionState:
        """The section as a value, for comparison with Postgres."""
        return SectionState(
            self.section_id,
            self.epoch,
            self.seq,
            self.capacity,
            self.enrolled,
            self.is_open,
            self.waitlist.last_place,
            tuple(self.waitlist),
        )

    @property
    def free(self) -> int:
        """Seats that nobody holds; negative after a cut of capacity below the students already in."""
        return self.capacity - self.enrolled

    def promotable(self, facts: SectionFacts, now: float) -> bool:
        """Whether a seat is free and someone waits for it whom nothing is known to block, while registration lasts."""
        closes_at = facts.term.closes_at
        return self.free > 0 and self.is_open and (closes_at is None or now < closes_at) and self.waitlist.has_eligible

    # Decisions

    def enroll(
        self,
        command: Enroll,
        facts: SectionFacts,
        record: RegistrationRecord,
        facts_of: FactsOf,
        enrollment_id: int,
        now: float,
    ) -> Outcome:
        """Give a seat, or a place on the waitlist, or every reason why neither.

        A free seat is for the waitlist first: a newcomer gets it only when nobody waits who could be promoted.
        """
        reasons = reasons_against_enrolling(facts, record, facts_of, now)
        if not self.is_open:
            reasons.append(Reason(ReasonCode.SECTION_CLOSED, "This section takes no more students."))
        seat = self.free > 0 and not self.waitlist.has_eligible
        if not seat:
            reasons += self._reasons_against_waiting(command, facts)
        if reasons:
            return refused(self.section_id, *reasons)
        if seat:
            record.take_seat(self.section_id, facts.credits)
            self._record(SeatTaken(self.section_id, self.seq + 1, command.student_id, enrollment_id, facts.credits))
            return Outcome(Code.ENROLLED, self.section_id, enrollment_id)
        place = self.waitlist.last_place + 1
        record.join_waitlist(self.section_id)
        self._record(StudentWaitlisted(self.section_id, self.seq + 1, command.student_id, enrollment_id, place))
        return Outcome(Code.WAITLISTED, self.section_id, enrollment_id, place, len(self.waitlist))

    def _reasons_against_waiting(self, command: Enroll, facts: SectionFacts) -> list[Reason]:
        if not command.join_waitlist:
            return [Reason(ReasonCode.SECTION_FULL, "No seat is free.")]
        if facts.waitlist_limit is not None and len(self.waitlist) >= facts.waitlist_limit:
            return [Reason(ReasonCode.WAITLIST_FULL, "No seat is free and the waitlist is full.")]
        return []

    def drop(self, command: Drop, held: HeldEnrollment | None, record: RegistrationRecord) -> Outcome:
        """Take back a seat or a place. Dropping what is dropped already changes nothing and is answered the same."""
        if held is None or held.student_id != command.student_id or held.section_id != self.section_id:
            return Outcome(Code.NOT_FOUND, self.section_id, command.enrollment_id)
        if held.status == "enrolled":
            record.free_seat(self.section_id, held.credits)
            self._record(SeatFreed(self.section_id, self.seq + 1, held.student_id, held.enrollment_id))
            recheck = tuple(record.waitlisted)
            return Outcome(Code.DROPPED, self.section_id, held.enrollment_id, recheck=recheck)
        waiting = self.waitlist.get(held.student_id)
        if held.status == "waitlisted" and waiting is not None:
            record.leave_waitlist(self.section_id)
            self._record(
                WaitlistLeft(self.section_id, self.seq + 1, held.student_id, held.enrollment_id, waiting.place)
            )
        return Outcome(Code.DROPPED, self.section_id, held.enrollment_id)

    def promote(self, waiting: Waiting, facts: SectionFacts, record: RegistrationRecord, facts_of: FactsOf) -> bool:
        """Give a free seat to a waiting student; or block them, at their place, until their record changes.

        Returns:
            whether they got the seat.
        """
        student_id, enrollment_id, place = waiting.student_id, waiting.enrollment_id, waiting.place
        reasons = reasons_against_holding(facts, record, facts_of)
        if reasons:
            codes = tuple(reason.code.value for reason in reasons)
            self._record(
                PromotionBlocked(self.section_id, self.seq + 1, student_id, enrollment_id, place, record.version, codes)
            )
            return False
        record.take_seat(self.section_id, facts.credits)
        self._record(StudentPromoted(self.section_id, self.seq + 1, student_id, enrollment_id, place, facts.credits))
        return True

    def administer(self, command: StaffCommand) -> Outcome:
        """Carry out a command of staff. One that asks for what is so already adds no event."""
        seq, by = self.seq + 1, command.by_user_id
        if isinstance(command, ChangeCapacity):
            if command.capacity != self.capacity:
                self._record(CapacityChanged(self.section_id, seq, command.capacity, by))
        elif isinstance(command, CloseSection):
            if self.is_open:
                self._record(SectionClosed(self.section_id, seq, by))
        elif isinstance(command, OpenSection) and not self.is_open:
            self._record(SectionOpened(self.section_id, seq, by))
        return Outcome(Code.CHANGED, self.section_id)

    # Transitions

    def _record(self, event: Event) -> None:
        self.apply(event)
        self.events.append(event)

    def apply(self, event: Event) -> None:
        """Change the state as ``event`` says. Replaying a history from the start gives the state again.

        Raises:
            ValueError: if the event is not the next one of this section.
        """
        if event.section_id != self.section_id or event.seq != self.seq + 1:
            raise ValueError(f"event {event.section_id}/{event.seq} does not follow {self.section_id}/{self.seq}")
        self.seq = event.seq
        match event:
            case SeatTaken():
                self.enrolled += 1
            case StudentWaitlisted():
                self.waitlist.join(event.place, event.student_id, event.enrollment_id)
            case StudentPromoted():
                self.waitlist.leave(event.student_id)
                self.enrolled += 1
            case PromotionBlocked():
                self.waitlist.block(event.student_id, event.record_version)
            case SeatFreed():
                self.enrolled -= 1
            case WaitlistLeft():
                self.waitlist.leave(event.student_id)
            case SectionCreated() | CapacityChanged():
                self.capacity = event.capacity
            case SectionClosed():
                self.is_open = False
            case SectionOpened():
                self.is_open = True
