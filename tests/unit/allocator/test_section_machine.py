"""Random sequences of decisions about one section, compared with a simple model."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from allocator.model.catalogue import SectionFacts, Term
from allocator.model.commands import ChangeCapacity, CloseSection, Drop, Enroll, OpenSection
from allocator.model.events import Event, SectionCreated, StudentPromoted
from allocator.model.outcomes import Code, Outcome
from allocator.model.record import RecordKey, RegistrationRecord
from allocator.model.section import HeldEnrollment, Section, SectionState
from allocator.rules.table import Judge
from allocator.turns.decision import Decision
from allocator.turns.inbox import Entry

FACTS = SectionFacts(1, 1, "LE", 3, 6, Term(1, None, None), (), (), ())
STUDENTS = st.integers(1, 12)
START = SectionState(1, 1, 0, 0, 0, True, 0, ())


def decide(
    command: Enroll | Drop,
    draft: Section,
    record: RegistrationRecord,
    enrollment_id: int = 0,
    held: HeldEnrollment | None = None,
) -> Outcome:
    """One command on a draft and a record, by the rules and nothing else."""
    decision = decision_on(draft, record, itertools.count(enrollment_id))
    entry = Entry.__new__(Entry)
    entry.command, entry.needs, entry.key = command, command.needs, "k"
    entry.keep_answer = entry.maybe_tried = False
    entry.waits_left = 0
    decision.decide([entry], {}, {} if held is None else {held.enrollment_id: held})
    return decision.decided[0].outcome


def offer(draft: Section, record: RegistrationRecord) -> None:
    """A free seat to the first in line, whose record is at hand."""
    decision_on(draft, record, itertools.count()).promote([draft.section_id])


def decision_on(draft: Section, record: RegistrationRecord, ids: Iterator[int]) -> Decision:
    decision = Decision({}, {1: FACTS}.__getitem__, {record.key: record}, ids, 0.0, Judge())
    decision.drafts[draft.section_id] = draft
    return decision


class SectionMachine(RuleBasedStateMachine):
    """Enrol, drop, promote and administer; some drafts are thrown away, as after a failed commit."""

    def __init__(self) -> None:
        super().__init__()
        self.section = Section(START)
        self.history: list[Event] = [SectionCreated(1, 1, 3)]
        self.section.apply(self.history[0])
        self.records = {
            one: RegistrationRecord(RecordKey(one, 1), 0, 0, 3 if one % 4 else 0, [], []) for one in range(1, 13)
        }
        self.ids = itertools.count(1)
        self.seats: dict[int, int] = {}
        self.queue: list[tuple[int, int]] = []
        self.given_places: list[int] = []

    def keep(self, draft: Section) -> None:
        self.history += draft.events
        draft.events = []
        self.section = draft

    @rule(student=STUDENTS, commit=st.booleans(), join=st.booleans())
    def enroll(self, student: int, commit: bool, join: bool) -> None:
        draft, record = self.section.draft(), self.records[student].copy()
        waiting_unblocked = next(self.section.waitlist.eligible(), None) is not None
        enrollment_id = next(self.ids)
        outcome = decide(Enroll(1, student, join), draft, record, enrollment_id)
        if outcome.code is Code.ENROLLED:
            assert self.section.free > 0
            assert not waiting_unblocked
            assert student not in self.seats
        if not commit:
            return
        self.keep(draft)
        self.records[student] = record
        if outcome.code is Code.ENROLLED:
            self.seats[student] = enrollment_id
        elif outcome.code is Code.WAITLISTED:
            assert outcome.place is not None
            self.queue.append((outcome.place, student))
            self.given_places.append(outcome.place)

    @rule(student=STUDENTS)
    def drop(self, student: int) -> None:
        waiting = self.section.waitlist.get(student)
        enrollment_id = waiting.enrollment_id if waiting else self.seats.get(student, 0)
        status = "waitlisted" if waiting else "enrolled" if student in self.seats else "dropped"
        draft, record = self.section.draft(), self.records[student]
        held = HeldEnrollment(enrollment_id, student, 1, status, 3)
        outcome = decide(Drop(1, student, enrollment_id), draft, record, held=held)
        assert outcome.code is Code.DROPPED
        self.keep(draft)
        self.seats.pop(student, None)
        self.queue = [(place, one) for place, one in self.queue if one != student]

    @precondition(lambda self: self.section.promotable(FACTS, 0.0))
    @rule()
    def promote(self) -> None:
        draft = self.section.draft()
        waiting = next(draft.waitlist.eligible())
        offer(draft, self.records[waiting.student_id])
        promoted = isinstance(draft.events[0], StudentPromoted)
        self.keep(draft)
        assert promoted == bool(waiting.student_id % 4)  # every fourth student has no credits left
        if promoted:
            passed = [one for place, one in self.queue if place < waiting.place]
            assert all(one % 4 == 0 for one in passed), "an eligible student was passed"
            self.queue.remove((waiting.place, waiting.student_id))
            self.seats[waiting.student_id] = waiting.enrollment_id

    @rule(capacity=st.integers(0, 6))
    def change_capacity(self, capacity: int) -> None:
        draft = self.section.draft()
        draft.administer(ChangeCapacity(1, capacity, 1))
        self.keep(draft)

    @rule(is_open=st.booleans())
    def open_or_close(self, is_open: bool) -> None:
        draft = self.section.draft()
        draft.administer(OpenSection(1, 1) if is_open else CloseSection(1, 1))
        self.keep(draft)

    @invariant()
    def seats_and_places_agree(self) -> None:
        assert self.section.enrolled == len(self.seats)
        assert [(one.place, one.student_id) for one in self.section.waitlist] == self.queue
        assert self.given_places == sorted(set(self.given_places))
        positions = [self.section.waitlist.position(one) for _, one in self.queue]
        assert positions == list(range(1, len(self.queue) + 1))

    @invariant()
    def the_history_gives_the_state_again(self) -> None:
        replayed = Section(START)
        for event in self.history:
            replayed.apply(event)
        assert replayed.state() == self.section.state()
        assert [event.seq for event in self.history] == list(range(1, len(self.history) + 1))

    @invariant()
    def records_agree(self) -> None:
        for student, record in self.records.items():
            assert (1 in record.enrolled) == (student in self.seats)
            assert record.credits == 3 * len(record.enrolled) <= record.credit_limit


# A student without credits cannot even join, so some are put on the waitlist before they run out of them.
class RunningOutMachine(SectionMachine):
    """As above, but every student may join, and every fourth has no credits by the time of the promotion."""

    @rule(student=STUDENTS)
    def spend_or_restore_credits(self, student: int) -> None:
        record = self.records[student]
        if student % 4 == 0 and not record.enrolled:
            record.credit_limit = 3 if student not in {one for _, one in self.queue} else 0
            if record.credit_limit == 3:
                draft = self.section.draft()
                full, after = self.section.free <= 0, record.copy()
                outcome = decide(Enroll(1, student, True), draft, after, next(self.ids))
                if full and outcome.code is Code.WAITLISTED and outcome.place is not None:
                    record = self.records[student] = after
                    self.keep(draft)
                    self.queue.append((outcome.place, student))
                    self.given_places.append(outcome.place)
                record.credit_limit = 0


TestSection = SectionMachine.TestCase
TestSection.settings = settings(max_examples=150, stateful_step_count=40, deadline=None)
TestRunningOut = RunningOutMachine.TestCase
TestRunningOut.settings = settings(max_examples=150, stateful_step_count=40, deadline=None)
