"""The invariants that are checked at every commit, and those that are checked at the end."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Iterable, Iterator

from allocator.model.catalogue import meetings_overlap
from allocator.model.commands import Command, Drop, Enroll, RecheckHead
from allocator.model.events import (
    CapacityChanged,
    Event,
    SeatFreed,
    SeatTaken,
    SectionClosed,
    SectionCreated,
    SectionOpened,
    StudentPromoted,
    StudentWaitlisted,
    WaitlistLeft,
)
from allocator.model.outcomes import Code, Outcome
from allocator.model.record import RegistrationRecord
from allocator.model.section import Section, SectionState
from allocator.model.waitlist import Waiting
from allocator.ports import Changes
from persistence.store.changes import messages
from persistence.store.memory import EnrollmentRow, MemoryDatabase
from persistence.verify.records import ReplayedRecords
from tests.linearizability.history import Operation
from tests.linearizability.model import Seats


class Broken(AssertionError):  # noqa: N818  (what a run reports; "BrokenError" would say less)
    """An invariant does not hold."""


def check_commit(database: MemoryDatabase, changes: Changes) -> None:
    """I1, I5, I6 and I8, at the instant of a commit."""
    for record in changes.records:
        _check_record(database, record)
    for write in changes.seats:
        row = database.seats[write.section_id]
        if not 0 <= row.enrolled <= row.capacity + row.over_capacity:
            raise Broken(f"I1: section {write.section_id} has {row.enrolled} students on {row.capacity} seats")
        before = database.history.get((write.section_id, write.seq_before))
        if before is not None and before[1] > write.epoch:
            raise Broken(f"I8: section {write.section_id} was written under {write.epoch} after {before[1]}")


def _check_record(database: MemoryDatabase, record: RegistrationRecord) -> None:
    if record.credits > record.credit_limit:
        raise Broken(f"I5: student {record.key.student_id} holds {record.credits} of {record.credit_limit} credits")
    held = [database.facts[section_id] for section_id in record.enrolled]
    for one, other in itertools.combinations(held, 2):
        if meetings_overlap(one.meetings, other.meetings):
            raise Broken(f"I6: student {record.key.student_id} sits in {one.section_id} and {other.section_id}")


def check_quiet(database: MemoryDatabase, memory: Iterable[SectionState], asked: Iterable[Command]) -> None:
    """Everything that must be true once no request is under way."""
    for section_id in database.seats:
        _check_history(database, section_id)
    _check_records(database)
    _check_replayed_records(database)
    _check_asked(database, asked)
    _check_outbox(database)
    _check_memory(database, memory)


def _events_of(database: MemoryDatabase, section_id: int) -> Iterator[Event]:
    history = database.history
    for seq in itertools.count(1):
        if (section_id, seq) not in history:
            return
        yield history[section_id, seq][0]


def _check_history(database: MemoryDatabase, section_id: int) -> None:
    """I9: the history replays to the tables. I4: by place, past nobody but the blocked."""
    replayed = Section(SectionState(section_id, 0, 0, 0, 0, True, 0, ()))
    for event in _events_of(database, section_id):
        _check_order(replayed, event)
        replayed.apply(event)
    row = database.seats[section_id]
    told = (
        replayed.seq,
        replayed.capacity,
        replayed.enrolled,
        replayed.over_capacity,
        len(replayed.waitlist),
        replayed.is_open,
    )
    if told != (row.seq, row.capacity, row.enrolled, row.over_capacity, row.waitlisted, row.is_open):
        raise Broken(f"I9: the history of section {section_id} comes to {told}, its row is {row}")
    waiting = {(one.student_id, one.enrollment_id, one.place) for one in replayed.waitlist}
    rows = database.active(section_id, "waitlisted")
    if waiting != {(one.student_id, one.enrollment_id, one.place) for one in rows}:
        raise Broken(f"I9: the waitlist of section {section_id} is {waiting} in its history and {rows} in the table")
    if row.enrolled != len(database.active(section_id, "enrolled")):
        raise Broken(f"I9: section {section_id} counts {row.enrolled} students")


def _check_order(section: Section, event: Event) -> None:
    ahead: list[int] = []
    if isinstance(event, SeatTaken):
        ahead = [one.student_id for one in section.waitlist.eligible()]
    elif isinstance(event, StudentPromoted):
        ahead = [one.student_id for one in section.waitlist.eligible() if one.place < event.place]
    if ahead:
        raise Broken(f"I4: {event} passed students {ahead}")


def _check_replayed_records(database: MemoryDatabase) -> None:
    """I9 for students: the histories of all sections replay to the records."""
    replayed = ReplayedRecords({section_id: facts.term.semester_id for section_id, facts in database.facts.items()})
    for section_id in database.seats:
        for event in _events_of(database, section_id):
            replayed.apply(event)
    for key, record in database.records.items():
        if not replayed.agrees_with(key, record.version, record.credits, record.enrolled, record.waitlisted):
            raise Broken(f"I9: the histories of all sections do not come to {record}")


def _check_records(database: MemoryDatabase) -> None:
    """I9 for students: the records say what the enrolments say."""
    for record in database.records.values():
        _check_record(database, record)
        mine = [row for row in database.enrollments.values() if row.student_id == record.key.student_id]
        enrolled = sorted(row.section_id for row in mine if row.status == "enrolled")
        waiting = sorted(row.section_id for row in mine if row.status == "waitlisted")
        credit_count = sum(row.credits for row in mine if row.status == "enrolled")
        if (sorted(record.enrolled), sorted(record.waitlisted), record.credits) != (enrolled, waiting, credit_count):
            raise Broken(f"I9: {record} but enrolled in {enrolled}, waiting in {waiting}, {credit_count} credits")


def _check_asked(database: MemoryDatabase, asked: Iterable[Command]) -> None:
    """I3 and I7: no more than was asked for, each request once."""
    joins: Counter[tuple[int, int]] = Counter()
    drops: set[int] = set()
    for command in asked:
        if isinstance(command, Enroll):
            joins[command.student_id, command.section_id] += 1
        elif isinstance(command, Drop):
            drops.add(command.enrollment_id)
    events = [event for event, _ in database.history.values()]
    joined = Counter(
        (event.student_id, event.section_id) for event in events if isinstance(event, SeatTaken | StudentWaitlisted)
    )
    for (student_id, section_id), count in joined.items():
        if count > joins[student_id, section_id]:
            raise Broken(f"I3: student {student_id} came into section {section_id} {count} times")
    for event in events:
        if isinstance(event, SeatFreed | WaitlistLeft) and event.enrollment_id not in drops:
            raise Broken(f"I3: nobody asked for {event}")
        if isinstance(event, CapacityChanged | SectionCreated) and event.capacity < 0:
            raise Broken(f"I3: {event}")


def _check_outbox(database: MemoryDatabase) -> None:
    """I10: one message for each event that somebody is told of, under an id of its own."""
    owed = {message.event_id for message in messages(event for event, _ in database.history.values())}
    ids = [message.event_id for message in database.outbox]
    if len(ids) != len(set(ids)) or set(ids) != owed:
        raise Broken(f"I10: the outbox holds {sorted(set(ids) ^ owed)} too many or too few")


def _check_memory(database: MemoryDatabase, memory: Iterable[SectionState]) -> None:
    """I11, and I4: nobody waits for a free seat that they could have."""
    for state in memory:
        row = database.seats[state.section_id]
        if state.epoch > row.epoch:
            raise Broken(f"I8: section {state.section_id} is in memory under {state.epoch}, its row has {row.epoch}")
        if state.epoch < row.epoch:
            continue  # a leftover that can commit nothing
        counts = (state.seq, state.capacity, state.enrolled, state.is_open, len(state.waiting))
        if counts != (row.seq, row.capacity, row.enrolled, row.is_open, row.waitlisted):
            raise Broken(f"I11: section {state.section_id} is {counts} in memory, its row is {row}")
        waiting = sorted(_waiting(one) for one in database.active(state.section_id, "waitlisted"))
        if list(state.waiting) != waiting:
            raise Broken(f"I11: {state.waiting} wait in memory of section {state.section_id}, {waiting} in the table")
    for section_id, row in database.seats.items():
        if row.is_open and row.enrolled < row.capacity:
            _check_nobody_waits(database, section_id)


def _waiting(row: EnrollmentRow) -> Waiting:
    return Waiting(row.place or 0, row.student_id, row.enrollment_id, row.blocked_at)


def _check_nobody_waits(database: MemoryDatabase, section_id: int) -> None:
    versions = {key.student_id: record.version for key, record in database.records.items()}
    for one in database.active(section_id, "waitlisted"):
        if one.blocked_at is None or one.blocked_at != versions[one.student_id]:
            raise Broken(f"I4: a seat of section {section_id} is free and student {one.student_id} waits for it")


def final_seats(database: MemoryDatabase, section_id: int) -> Seats:
    """A section as the tables have it, for the linearizability checker."""
    row = database.seats[section_id]
    seated = frozenset((one.student_id, one.enrollment_id) for one in database.active(section_id, "enrolled"))
    line = sorted(database.active(section_id, "waitlisted"), key=lambda one: one.place or 0)
    waiting = tuple((one.student_id, one.enrollment_id) for one in line)
    return Seats(row.capacity, row.is_open, seated, waiting, row.last_place)


def stored_outcome(database: MemoryDatabase, operation: Operation) -> Outcome | None:
    """What the tables say of a command that got no answer; None if it changed nothing."""
    command = operation.command
    if isinstance(command, Enroll | Drop):
        stored = database.answers.get((command.student_id, operation.key))
        return None if stored is None else stored.outcome
    if isinstance(command, RecheckHead):
        return None
    events = (event for event, _ in database.history.values())
    for event in events:
        if (
            isinstance(event, CapacityChanged | SectionClosed | SectionOpened)
            and event.by_user_id == command.by_user_id
        ):
            return Outcome(Code.CHANGED, command.section_id)
    return None
