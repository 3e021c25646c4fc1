"""One section: its seats and its waitlist. What it does becomes an event; what it is follows from its events.

Nothing here waits or does I/O. A decision is made on a draft, a copy that applies its own events at once;
the draft becomes the section only after its events are committed.
"""

from __future__ import annotations

from typing import NamedTuple, assert_never

from allocator.model.catalogue import SectionFacts
from allocator.model.commands import ChangeCapacity, CloseSection, OpenSection, StaffCommand
from allocator.model.events import (
    CapacityChanged,
    EnrollmentEvent,
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
from allocator.model.record import RegistrationRecord
from allocator.model.waitlist import Waiting, Waitlist


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
    over_capacity: int = 0


class HeldEnrollment(NamedTuple):
    """An enrolment as it stands in Postgres. ``status`` is ``enrolled``, ``waitlisted`` or ``dropped``."""

    enrollment_id: int
    student_id: int
    section_id: int
    status: str
    credits: int


class Section:
    """The seats and the waitlist of one section, under one epoch.

    ``over_capacity`` is by how many students it may exceed its capacity: a cut evicts nobody.
    """

    __slots__ = (
        "capacity",
        "enrolled",
        "epoch",
        "events",
        "is_open",
        "over_capacity",
        "section_id",
        "seq",
        "waitlist",
    )

    def __init__(self, state: SectionState) -> None:
        self.section_id = state.section_id
        self.epoch = state.epoch
        self.seq = state.seq
        self.capacity = state.capacity
        self.enrolled = state.enrolled
        self.over_capacity = state.over_capacity
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
        other.over_capacity = self.over_capacity
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
            self.over_capacity,
        )

    @property
    def free(self) -> int:
        """Seats that nobody holds; negative after a cut of capacity below the students already in."""
        return self.capacity - self.enrolled

    @property
    def has_seat_for_newcomer(self) -> bool:
        """Whether a seat is free that nobody on the waitlist could have: they come first."""
        return self.capacity > self.enrolled and not self.waitlist.has_eligible

    def promotes(self, facts: SectionFacts, now: float) -> bool:
        """Whether there are free seats to offer to the waitlist: while it is open and registration lasts."""
        closes_at = facts.term.closes_at
        return self.free > 0 and self.is_open and (closes_at is None or now < closes_at)

    def promotable(self, facts: SectionFacts, now: float) -> bool:
        """Whether a seat is free and someone waits for it whom nothing is known to block, while registration lasts."""
        return self.waitlist.has_eligible and self.promotes(facts, now)

    # What can happen. Each changes the section and the student's record by one and the same event.

    def take_seat(self, record: RegistrationRecord, enrollment_id: int, credit_count: int) -> None:
        """A newcomer gets a seat."""
        student_id = record.key.student_id
        self._happened_to(record, SeatTaken(self.section_id, self.seq + 1, student_id, enrollment_id, credit_count))

    def join_waitlist(self, record: RegistrationRecord, enrollment_id: int) -> int:
        """A newcomer gets a place on the waitlist. Returns the place."""
        place = self.waitlist.last_place + 1
        self._happened_to(
            record, StudentWaitlisted(self.section_id, self.seq + 1, record.key.student_id, enrollment_id, place)
        )
        return place

    def free_seat(self, record: RegistrationRecord, held: HeldEnrollment) -> None:
        """A student gives up a seat."""
        student_id, enrollment_id = held.student_id, held.enrollment_id
        self._happened_to(record, SeatFreed(self.section_id, self.seq + 1, student_id, enrollment_id, held.credits))

    def leave_waitlist(self, record: RegistrationRecord, waiting: Waiting) -> None:
        """A student gives up a place on the waitlist."""
        student_id, enrollment_id, place = waiting.student_id, waiting.enrollment_id, waiting.place
        self._happened_to(record, WaitlistLeft(self.section_id, self.seq + 1, student_id, enrollment_id, place))

    def promote(self, record: RegistrationRecord, waiting: Waiting, credit_count: int) -> None:
        """A waiting student gets a seat."""
        student_id, enrollment_id, place = waiting.student_id, waiting.enrollment_id, waiting.place
        self._happened_to(
            record, StudentPromoted(self.section_id, self.seq + 1, student_id, enrollment_id, place, credit_count)
        )

    def block(self, record: RegistrationRecord, waiting: Waiting, reasons: tuple[str, ...]) -> None:
        """A waiting student may not have a seat now: they keep their place, and are passed until their record changes.

        ``reasons`` are the codes of the rules against it.
        """
        student_id, enrollment_id, place = waiting.student_id, waiting.enrollment_id, waiting.place
        self._happened_to(
            record,
            PromotionBlocked(self.section_id, self.seq + 1, student_id, enrollment_id, place, record.version, reasons),
        )

    def administer(self, command: StaffCommand) -> None:
        """Carry out a command of staff. One that asks for what is so already adds no event."""
        seq, by = self.seq + 1, command.by_user_id
        match command:
            case ChangeCapacity():
                if command.capacity != self.capacity:
                    self._happened(CapacityChanged(self.section_id, seq, command.capacity, by))
            case CloseSection():
                if self.is_open:
                    self._happened(SectionClosed(self.section_id, seq, by))
            case OpenSection():
                if not self.is_open:
                    self._happened(SectionOpened(self.section_id, seq, by))
            case _:
                assert_never(command)

    # Transitions

    def _happened_to(self, record: RegistrationRecord, event: EnrollmentEvent) -> None:
        self.apply(event)
        record.apply(event)
        self.events.append(event)

    def _happened(self, event: Event) -> None:
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
                # Who leaves a section that is too full leaves room for nobody.
                self.over_capacity = max(0, min(self.over_capacity, self.enrolled - self.capacity))
            case WaitlistLeft():
                self.waitlist.leave(event.student_id)
            case SectionCreated():
                self.capacity = event.capacity
            case CapacityChanged():
                self.capacity = event.capacity
                # Only a cut may leave more students in than the capacity.
                self.over_capacity = max(0, self.enrolled - event.capacity)
            case SectionClosed():
                self.is_open = False
            case SectionOpened():
                self.is_open = True
            case _:
                assert_never(event)
