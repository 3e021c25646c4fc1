"""The synchronous middle of a turn: everything is loaded, nothing waits, commands are decided in their order."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import NamedTuple, assert_never

from allocator.model.commands import (
    ChangeCapacity,
    CloseSection,
    Command,
    Drop,
    Enroll,
    OpenSection,
    RecheckHead,
    StudentCommand,
    request_of,
)
from allocator.model.events import SeatFreed
from allocator.model.outcomes import FINAL, Code, Outcome, Reason, ReasonCode, refused
from allocator.model.record import RecordKey, RegistrationRecord
from allocator.model.section import HeldEnrollment, Section
from allocator.model.waitlist import Waiting
from allocator.ports import Changes, SeatWrite, StoredAnswer
from allocator.rules.case import Case, FactsOf, Moment
from allocator.rules.table import Judge
from allocator.turns.inbox import Entry

Answers = Mapping[tuple[int, str], StoredAnswer]

NOT_REGISTERED = Reason(ReasonCode.NOT_REGISTERED, "You have no registration record in this semester.")


class Decided(NamedTuple):
    """A command with its outcome.

    ``replayed``: it was decided by an earlier try with the same key. ``recheck``: sections on whose waitlists the
    student may have become eligible, since they gave up a seat.
    """

    entry: Entry
    outcome: Outcome
    replayed: bool = False
    recheck: tuple[int, ...] = ()


class Decision:
    """One turn over several sections and students.

    It works on drafts of the sections and on the records that the transaction has locked, so that giving it up
    costs nothing: nothing outside is touched until the changes are committed.

    An enrolment gets at most one event in a turn, and a key one try; what would be the second is deferred
    to the next turn.

    Args:
        sections: the active ones, as they are.
        facts_of: facts of all sections that a decision may refer to.
        records: those that are locked, at hand to be changed.
        enrollment_ids: for new enrolments.
        now: Unix seconds.
        judge: the rules.
    """

    def __init__(
        self,
        sections: Mapping[int, Section],
        facts_of: FactsOf,
        records: Mapping[RecordKey, RegistrationRecord],
        enrollment_ids: Iterator[int],
        now: float,
        judge: Judge,
    ) -> None:
        self._sections = sections
        self._facts_of = facts_of
        self._records = records
        self._versions = {key: record.version for key, record in records.items()}
        self._enrollment_ids = enrollment_ids
        self._now = now
        self._against_adding = judge.at(Moment.ADD)
        self._against_waiting = judge.at(Moment.WAIT)
        self._against_promoting = judge.at(Moment.PROMOTE)
        self._against_dropping = judge.at(Moment.DROP)
        self._touched: set[tuple[int, int]] = set()  # (student, section) pairs with an event in this turn
        self._tried_keys: set[tuple[int, str]] = set()  # (student, key) pairs that were looked at in this turn
        self._sealed: set[int] = set()  # sections whose further commands wait for the next turn
        self._new_answers: list[StoredAnswer] = []
        self.recheck_here: set[int] = set()
        """Sections of this actor in which a blocked student is to be tried again: their record changed in this turn."""
        self.drafts: dict[int, Section] = {}
        self.decided: list[Decided] = []
        self.deferred: list[Entry] = []

    # Promotions

    def unblock(self, students_by_section: Mapping[int, Iterable[int]]) -> None:
        """Try students again whose record changed since it did not allow a promotion."""
        for section_id, student_ids in students_by_section.items():
            waitlist = self._draft(section_id).waitlist
            for student_id in student_ids:
                waitlist.unblock(student_id)

    def promote(self, section_ids: Iterable[int]) -> None:
        """Offer the free seats of sections to their waitlists, in order, as far as the records are at hand.

        It stops at the first student whose record is locked elsewhere: nobody passes an eligible head.
        """
        for section_id in section_ids:
            facts = self._facts_of(section_id)
            draft = self._draft(section_id)
            while draft.promotable(facts, self._now):
                waiting = next(draft.waitlist.eligible())
                record = self._records.get(RecordKey(waiting.student_id, facts.term.semester_id))
                if record is None:
                    break
                self._offer(draft, waiting, record)
                self._touched.add((waiting.student_id, section_id))

    def _offer(self, draft: Section, waiting: Waiting, record: RegistrationRecord) -> None:
        """Give a waiting student the seat; or block them, at their place, until their record changes."""
        reasons = self._against_promoting(self._case(draft, record))
        if reasons:
            draft.block(record, waiting, tuple(reason.code.value for reason in reasons))
        else:
            draft.promote(record, waiting, self._facts_of(draft.section_id).credits)

    # Commands

    def decide(self, entries: Iterable[Entry], answers: Answers, held: Mapping[int, HeldEnrollment]) -> None:
        """Decide commands in order; what was decided stands in ``decided``, what must wait in ``deferred``."""
        for entry in entries:
            done = self._decide_one(entry, answers, held)
            if done is None:
                self.deferred.append(entry)
            else:
                self.decided.append(done)

    def _decide_one(self, entry: Entry, answers: Answers, held: Mapping[int, HeldEnrollment]) -> Decided | None:
        """What was decided, or None if it must wait for the next turn."""
        if self._sealed and not self._sealed.isdisjoint(entry.needs.section_ids):
            return None
        command: Command = entry.command
        match command:
            case Enroll() | Drop():
                return self._decide_for_student(entry, command, answers, held)
            case RecheckHead():
                # That it came is enough: refusals of its section were compared with the records before this turn
                # (Promotions.find_outdated). The draft is for the fence, by which an owner finds out that it is none.
                self._draft(command.section_id)
            case ChangeCapacity():
                # Alone among what a turn writes of its section: the database compares a cut with the seats before the
                # turn (over_capacity), so none may be taken or freed in the same one.
                self._sealed.add(command.section_id)
                draft = self._draft(command.section_id)
                if draft.events:
                    return None
                draft.administer(command)
            case CloseSection() | OpenSection():
                self._draft(command.section_id).administer(command)
            case _:
                assert_never(command)
        return Decided(entry, Outcome(Code.CHANGED, command.section_id))

    def _decide_for_student(
        self, entry: Entry, command: StudentCommand, answers: Answers, held: Mapping[int, HeldEnrollment]
    ) -> Decided | None:
        key = (command.student_id, entry.key)
        touch = (command.student_id, command.section_id)
        if key in self._tried_keys or touch in self._touched:
            return None
        self._tried_keys.add(key)
        record = self._records.get(RecordKey(command.student_id, self._facts_of(command.section_id).term.semester_id))
        stored = answers.get(key)
        if stored is not None:
            return _repeat(entry, command, stored, record)
        draft = self._draft(command.section_id)
        if isinstance(command, Enroll) and self._must_wait_for_promotions(entry, draft):
            return None
        seq_before = draft.seq
        if record is None:
            outcome = refused(command.section_id, NOT_REGISTERED)
        elif isinstance(command, Enroll):
            outcome = self._enroll(command, draft, record)
        else:
            outcome = self._drop(command, draft, record, held.get(command.enrollment_id))
        changed = draft.seq != seq_before
        recheck: tuple[int, ...] = ()
        if changed and record is not None:
            self._touched.add(touch)
            self._unblock_here(record)
            # Only a seat that was given up makes room in the student's record; a place on a list took none.
            recheck = tuple(record.waitlisted) if isinstance(draft.events[-1], SeatFreed) else ()
        # One that was sent again is kept too: should its first try come late, it must find what it was answered.
        if changed or ((entry.keep_answer or entry.maybe_tried) and outcome.code in FINAL):
            self._new_answers.append(StoredAnswer(*key, request_of(command), outcome))
        return Decided(entry, outcome, recheck=recheck)

    def _enroll(self, command: Enroll, draft: Section, record: RegistrationRecord) -> Outcome:
        """Give a seat, or a place on the waitlist, or every reason why neither."""
        gets_seat = draft.has_seat_for_newcomer
        case = self._case(draft, record, command.join_waitlist)
        reasons = self._against_adding(case) if gets_seat else self._against_waiting(case)
        if reasons:
            return refused(draft.section_id, *reasons)
        enrollment_id = next(self._enrollment_ids)
        if gets_seat:
            draft.take_seat(record, enrollment_id, case.facts.credits)
            return Outcome(Code.ENROLLED, draft.section_id, enrollment_id)
        place = draft.join_waitlist(record, enrollment_id)
        return Outcome(Code.WAITLISTED, draft.section_id, enrollment_id, place, len(draft.waitlist))

    def _drop(self, command: Drop, draft: Section, record: RegistrationRecord, held: HeldEnrollment | None) -> Outcome:
        """Take back a seat or a place. Dropping what is dropped already changes nothing and is answered the same."""
        if held is None or held.student_id != command.student_id or held.section_id != draft.section_id:
            return Outcome(Code.NOT_FOUND, draft.section_id, command.enrollment_id)
        waiting = draft.waitlist.get(held.student_id)
        is_held = held.status == "enrolled" or (held.status == "waitlisted" and waiting is not None)
        reasons = self._against_dropping(self._case(draft, record)) if is_held else []
        if reasons:
            return refused(draft.section_id, *reasons)
        if held.status == "enrolled":
            draft.free_seat(record, held)
        elif held.status == "waitlisted" and waiting is not None:
            draft.leave_waitlist(record, waiting)
        return Outcome(Code.DROPPED, draft.section_id, held.enrollment_id)

    def _must_wait_for_promotions(self, entry: Entry, draft: Section) -> bool:
        """Whether free seats are still to be offered to the waitlist: until then nobody knows if one is left.

        All that follows for the section waits too, so that the order stays. After some turns a newcomer gets a place on
        the waitlist all the same.
        """
        if entry.waits_left == 0 or not draft.promotable(self._facts_of(draft.section_id), self._now):
            return False
        entry.waits_left -= 1
        self._sealed.add(draft.section_id)
        return True

    def _unblock_here(self, record: RegistrationRecord) -> None:
        """A student's record changed: nobody may pass them where a promotion was refused, until it is tried again."""
        student_id = record.key.student_id
        for section_id in record.waitlisted:
            section = self._sections.get(section_id)
            waiting = section and section.waitlist.get(student_id)
            if waiting and waiting.blocked_at is not None:
                self._draft(section_id).waitlist.unblock(student_id)
                self.recheck_here.add(section_id)

    def _case(self, draft: Section, record: RegistrationRecord, joins_waitlist: bool = True) -> Case:
        facts_of = self._facts_of
        return Case(
            facts_of(draft.section_id),
            record,
            [facts_of(section_id) for section_id in record.enrolled],
            self._now,
            draft.is_open,
            len(draft.waitlist),
            joins_waitlist,
        )

    def _draft(self, section_id: int) -> Section:
        draft = self.drafts.get(section_id)
        if draft is None:
            draft = self.drafts[section_id] = self._sections[section_id].draft()
        return draft

    # What comes of it

    def changed_sections(self) -> list[Section]:
        """The drafts that have events."""
        return [draft for draft in self.drafts.values() if draft.events]

    def changes(self) -> Changes:
        """All that must be written, sections and records in the order in which they are to be locked."""
        changes = Changes(answers=self._new_answers)
        for section_id in sorted(self.drafts):
            draft = self.drafts[section_id]
            changes.fences.append((section_id, draft.epoch))
            if draft.events:
                changes.seats.append(seat_write(draft))
                changes.events += draft.events
        changes.records = [record for key, record in self._records.items() if record.version != self._versions[key]]
        return changes


def _repeat(entry: Entry, command: StudentCommand, stored: StoredAnswer, record: RegistrationRecord | None) -> Decided:
    if stored.request != request_of(command):
        return Decided(entry, Outcome(Code.KEY_REUSED, command.section_id))
    # What follows from a drop may have been lost with its first reply.
    recheck = tuple(record.waitlisted) if isinstance(command, Drop) and record is not None else ()
    return Decided(entry, stored.outcome, replayed=True, recheck=recheck)


def seat_write(draft: Section) -> SeatWrite:
    """The row of section_seats that ``draft`` stands for."""
    return SeatWrite(
        draft.section_id,
        draft.epoch,
        draft.seq - len(draft.events),
        draft.seq,
        draft.capacity,
        draft.enrolled,
        len(draft.waitlist),
        draft.waitlist.last_place,
        draft.is_open,
        draft.over_capacity,
    )
