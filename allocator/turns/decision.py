"""The synchronous middle of a turn: everything is loaded, nothing waits, commands are decided in their order."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from allocator.model.catalogue import SectionFacts
from allocator.model.commands import (
    STUDENT_COMMANDS,
    ChangeCapacity,
    Drop,
    Enroll,
    RecheckHead,
    StudentCommand,
    request_of,
)
from allocator.model.outcomes import FINAL, Code, Outcome, Reason, ReasonCode, refused
from allocator.model.record import RecordKey, RegistrationRecord
from allocator.model.section import HeldEnrollment, Section
from allocator.ports import Changes, SeatWrite, StoredAnswer
from allocator.rules import FactsOf
from allocator.turns.inbox import Entry

Answers = Mapping[tuple[int, str], StoredAnswer]


class Decision:
    """One turn over several sections and students.

    It works on drafts of the sections and on the records that the transaction has locked, so that giving it up
    costs nothing: nothing outside is touched until the changes are committed.

    An enrolment gets at most one event in a turn, and a key one try; what would be the second is deferred
    to the next turn.
    """

    def __init__(
        self,
        sections: Mapping[int, Section],
        facts_of: FactsOf,
        records: Mapping[RecordKey, RegistrationRecord],
        enrollment_ids: Iterator[int],
        now: float,
    ) -> None:
        self._sections = sections
        self._facts_of = facts_of
        self._records = records
        self._versions = {key: record.version for key, record in records.items()}
        self._enrollment_ids = enrollment_ids
        self._now = now
        self._touched: set[tuple[int, int]] = set()
        self._tried_keys: set[tuple[int, str]] = set()
        self._sealed: set[int] = set()
        self._new_answers: list[StoredAnswer] = []
        self.drafts: dict[int, Section] = {}
        self.outcomes: list[tuple[Entry, Outcome]] = []
        self.deferred: list[Entry] = []

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
                draft.promote(waiting, facts, record, self._facts_of)
                self._touched.add((waiting.student_id, section_id))

    def decide(self, entries: Iterable[Entry], answers: Answers, held: Mapping[int, HeldEnrollment]) -> None:
        """Decide commands in order; their outcomes stand in ``outcomes``, those that must wait in ``deferred``."""
        for entry in entries:
            outcome = self._decide_one(entry, answers, held)
            if outcome is None:
                self.deferred.append(entry)
            else:
                self.outcomes.append((entry, outcome))

    def _decide_one(self, entry: Entry, answers: Answers, held: Mapping[int, HeldEnrollment]) -> Outcome | None:
        """The outcome, or None if it must wait for the next turn."""
        command = entry.command
        if command.section_id in self._sealed:
            return None
        if isinstance(command, STUDENT_COMMANDS):
            return self._decide_for_student(entry, command, answers, held)
        draft = self._draft(command.section_id)
        if isinstance(command, RecheckHead):
            return Outcome(Code.CHANGED, command.section_id)  # with a draft, so that a stale owner is found out
        if isinstance(command, ChangeCapacity):
            # Alone among what a turn writes of its section: the database holds a cut against the students who were
            # in before the turn (over_capacity), so none may come or go in the same one.
            self._sealed.add(command.section_id)
            if draft.events:
                return None
        return draft.administer(command)

    def _decide_for_student(
        self, entry: Entry, command: StudentCommand, answers: Answers, held: Mapping[int, HeldEnrollment]
    ) -> Outcome | None:
        key = (command.student_id, command.key)
        touch = (command.student_id, command.section_id)
        if key in self._tried_keys or touch in self._touched:
            return None
        self._tried_keys.add(key)
        stored = answers.get(key)
        if stored is not None:
            return self._repeat(command, stored)
        draft = self._draft(command.section_id)
        if isinstance(command, Enroll) and self._comes_too_soon(entry, draft):
            return None
        facts = self._facts_of(command.section_id)
        record = self._records.get(RecordKey(command.student_id, facts.term.semester_id))
        seq_before = draft.seq
        outcome = self._apply_rules(command, draft, facts, record, held)
        changed = draft.seq != seq_before
        if changed:
            self._touched.add(touch)
        if changed and record is not None:
            self._unblock(record)
        # One that was sent again is kept too: should its first try come late, it must find what it was answered.
        if changed or ((command.keep_answer or command.maybe_tried) and outcome.code in FINAL):
            self._new_answers.append(StoredAnswer(*key, request_of(command), outcome))
        return outcome

    def _comes_too_soon(self, entry: Entry, draft: Section) -> bool:
        """Whether free seats are still to be offered to the waitlist: until then nobody knows if one is left.

        All that follows for the section waits too, so that the order stays. But not for ever: who has been patient
        gets a place in line.
        """
        facts = self._facts_of(draft.section_id)
        if entry.patience == 0 or not draft.promotable(facts, self._now):
            return False
        entry.patience -= 1
        self._sealed.add(draft.section_id)
        return True

    def _unblock(self, record: RegistrationRecord) -> None:
        """A student's record changed: nobody may pass them where a promotion was refused, until it is tried again."""
        student_id = record.key.student_id
        for section_id in record.waitlisted:
            section = self._sections.get(section_id)
            waiting = section and section.waitlist.get(student_id)
            if waiting and waiting.blocked_at is not None:
                self._draft(section_id).waitlist.unblock(student_id)

    def _repeat(self, command: StudentCommand, stored: StoredAnswer) -> Outcome:
        if stored.request != request_of(command):
            return Outcome(Code.KEY_REUSED, command.section_id)
        return stored.outcome._replace(replayed=True)

    def _apply_rules(
        self,
        command: StudentCommand,
        draft: Section,
        facts: SectionFacts,
        record: RegistrationRecord | None,
        held: Mapping[int, HeldEnrollment],
    ) -> Outcome:
        if record is None:
            reason = Reason(ReasonCode.NOT_REGISTERED, "You have no registration record in this semester.")
            return refused(command.section_id, reason)
        if isinstance(command, Drop):
            return draft.drop(command, held.get(command.enrollment_id), record)
        return draft.enroll(command, facts, record, self._facts_of, next(self._enrollment_ids), self._now)

    def _draft(self, section_id: int) -> Section:
        draft = self.drafts.get(section_id)
        if draft is None:
            draft = self.drafts[section_id] = self._sections[section_id].draft()
        return draft

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
    )
