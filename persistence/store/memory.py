"""The store without a database: the same promises, held in dicts. For unit tests, simulation and benchmarks.

Several stores may share one ``MemoryDatabase``, as several actors share one Postgres.
"""

from __future__ import annotations

import asyncio
import contextlib
import copy
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from allocator.model.catalogue import SectionFacts
from allocator.model.events import Event, SectionCreated
from allocator.model.record import RecordKey, RegistrationRecord
from allocator.model.section import HeldEnrollment, SectionState
from allocator.model.waitlist import Waiting
from allocator.ports import (
    Changes,
    LockedRecords,
    SeatWrite,
    StaleEpochError,
    StoreBusyError,
    StoredAnswer,
    StoreRejectedError,
    Turn,
)
from persistence.names import ENROLLMENT_ID_BLOCK
from persistence.store.changes import Message, enrollment_updates, messages, new_enrollments


@dataclass(slots=True)
class SeatRow:
    """A row of section_seats."""

    capacity: int
    enrolled: int = 0
    waitlisted: int = 0
    over_capacity: int = 0
    last_place: int = 0
    is_open: bool = True
    epoch: int = 0
    seq: int = 1
    owner: str | None = None


@dataclass(slots=True)
class EnrollmentRow:
    """A row of enrollments."""

    enrollment_id: int
    student_id: int
    section_id: int
    status: str
    credits: int
    place: int | None
    blocked_at: int | None = None
    blocked_by: str | None = None


@dataclass
class MemoryDatabase:
    """The tables of the batch path.

    ``lock_timeout_s`` is how long a turn waits for a record that another holds; ``holders`` is the unique index on
    active enrolments, by student and section.
    """

    lock_timeout_s: float = 1.0
    facts: dict[int, SectionFacts] = field(default_factory=dict)
    catalogue_version: int = 1
    seats: dict[int, SeatRow] = field(default_factory=dict)
    records: dict[RecordKey, RegistrationRecord] = field(default_factory=dict)
    holders: dict[tuple[int, int], int] = field(default_factory=dict)
    enrollments: dict[int, EnrollmentRow] = field(default_factory=dict)
    answers: dict[tuple[int, str], StoredAnswer] = field(default_factory=dict)
    history: dict[tuple[int, int], tuple[Event, int]] = field(default_factory=dict)
    outbox: list[Message] = field(default_factory=list)
    locks: dict[RecordKey, object] = field(default_factory=dict)
    unlocked: asyncio.Condition = field(default_factory=asyncio.Condition)
    next_id: int = 1

    def add_section(self, facts: SectionFacts, capacity: int) -> None:
        """A section as an importer makes it."""
        self.facts[facts.section_id] = facts
        self.seats[facts.section_id] = SeatRow(capacity)
        self.history[facts.section_id, 1] = (SectionCreated(facts.section_id, 1, capacity), 0)

    def add_record(self, record: RegistrationRecord) -> None:
        """A student's record as an importer makes it."""
        self.records[record.key] = record

    def active(self, section_id: int, status: str) -> list[EnrollmentRow]:
        """Enrolments of a section with this status."""
        rows = self.enrollments.values()
        return [row for row in rows if row.section_id == section_id and row.status == status]


class MemoryTurn:
    """One open transaction."""

    def __init__(self, database: MemoryDatabase) -> None:
        self._database = database
        self._locked: set[RecordKey] = set()

    async def lock_records(self, wait: Sequence[RecordKey], skip: Sequence[RecordKey]) -> LockedRecords:
        """See ``allocator.ports.Turn``."""
        database = self._database
        for key in wait:
            await self._wait_for(key)
        for key in skip:
            if key not in database.locks:
                self._take(key)
        records = {
            key: database.records[key].copy()
            for key in sorted(self._locked.intersection((*wait, *skip)))
            if key in database.records
        }
        return LockedRecords(records, database.catalogue_version if records else None)

    async def _wait_for(self, key: RecordKey) -> None:
        database = self._database
        try:
            async with asyncio.timeout(database.lock_timeout_s), database.unlocked:
                await database.unlocked.wait_for(lambda: database.locks.get(key) in {None, self})
        except TimeoutError as error:
            raise StoreBusyError(f"record {key} is locked elsewhere") from error
        self._take(key)

    def _take(self, key: RecordKey) -> None:
        if key in self._database.records:
            self._database.locks[key] = self
            self._locked.add(key)

    async def answers(self, keys: Sequence[tuple[int, str]]) -> dict[tuple[int, str], StoredAnswer]:
        """See ``allocator.ports.Turn``."""
        return {key: self._database.answers[key] for key in keys if key in self._database.answers}

    async def enrollments(self, enrollment_ids: Sequence[int]) -> dict[int, HeldEnrollment]:
        """See ``allocator.ports.Turn``."""
        rows = self._database.enrollments
        return {
            one: HeldEnrollment(one, rows[one].student_id, rows[one].section_id, rows[one].status, rows[one].credits)
            for one in enrollment_ids
            if one in rows
        }

    async def commit(self, changes: Changes) -> None:
        """See ``allocator.ports.Turn``. Everything or nothing: it is tried on copies first."""
        database = self._database
        self.check_fences(changes)
        epochs = dict(changes.fences)
        seats = {write.section_id: _written(database.seats[write.section_id], write) for write in changes.seats}
        enrollments = _changed_enrollments(database, changes.events)
        for answer in changes.answers:
            if (answer.student_id, answer.key) in database.answers:
                raise StoreBusyError("the same key at once")
        for event in changes.events:
            if (event.section_id, event.seq) in database.history:
                raise StoreRejectedError(f"history {event.section_id}/{event.seq} exists")
        database.seats.update(seats)
        database.enrollments.update(enrollments)
        for row in enrollments.values():
            if row.status == "dropped":
                database.holders.pop((row.student_id, row.section_id), None)
            else:
                database.holders[row.student_id, row.section_id] = row.enrollment_id
        database.records.update({record.key: record.copy() for record in changes.records})
        database.answers.update({(a.student_id, a.key): a for a in changes.answers})
        database.history.update({(e.section_id, e.seq): (e, epochs[e.section_id]) for e in changes.events})
        database.outbox.extend(messages(changes.events))

    def check_fences(self, changes: Changes) -> None:
        """See that every section is still as its actor left it.

        Raises:
            StaleEpochError: if one is not.
        """
        seats = self._database.seats
        stale = {one for one, epoch in changes.fences if one not in seats or seats[one].epoch != epoch}
        stale.update(write.section_id for write in changes.seats if seats[write.section_id].seq != write.seq_before)
        if stale:
            raise StaleEpochError(stale)

    async def end(self) -> None:
        """Release the locks, after a commit or instead of it."""
        for key in self._locked:
            self._database.locks.pop(key, None)
        self._locked.clear()
        async with self._database.unlocked:
            self._database.unlocked.notify_all()


class MemoryStore:
    """Implements ``allocator.ports.Store`` over a ``MemoryDatabase``."""

    def __init__(self, database: MemoryDatabase) -> None:
        self._database = database

    @contextlib.asynccontextmanager
    async def turn(self) -> AsyncIterator[Turn]:
        """See ``allocator.ports.Store``."""
        turn = MemoryTurn(self._database)
        try:
            yield turn
        finally:
            await turn.end()

    async def activate(self, section_ids: Sequence[int], owner: str) -> list[SectionState]:
        """See ``allocator.ports.Store``."""
        states = []
        for section_id in sorted(section_ids):
            row = self._database.seats.get(section_id)
            if row is None:
                continue
            row.epoch += 1
            row.owner = owner
            waiting = sorted(
                Waiting(one.place or 0, one.student_id, one.enrollment_id, one.blocked_at)
                for one in self._database.active(section_id, "waitlisted")
            )
            states.append(
                SectionState(
                    section_id,
                    row.epoch,
                    row.seq,
                    row.capacity,
                    row.enrolled,
                    row.is_open,
                    row.last_place,
                    tuple(waiting),
                    row.over_capacity,
                )
            )
        return states

    async def facts(self, section_ids: Sequence[int]) -> list[SectionFacts]:
        """See ``allocator.ports.Store``."""
        return [self._database.facts[one] for one in section_ids if one in self._database.facts]

    async def record_versions(self, keys: Sequence[RecordKey]) -> Mapping[RecordKey, int]:
        """See ``allocator.ports.Store``."""
        records = self._database.records
        return {key: records[key].version for key in keys if key in records}

    async def allocate_enrollment_ids(self) -> range:
        """See ``allocator.ports.Store``."""
        first = self._database.next_id
        self._database.next_id += ENROLLMENT_ID_BLOCK
        return range(first, self._database.next_id)

    async def close(self) -> None:
        """Nothing to let go of."""


def _written(row: SeatRow, write: SeatWrite) -> SeatRow:
    """The row after ``write``, with the same backstop as in Postgres."""
    changed = copy.copy(row)
    same = write.capacity == row.capacity
    changed.over_capacity = min(row.over_capacity, write.over_capacity) if same else write.over_capacity
    changed.seq, changed.capacity, changed.enrolled = write.seq, write.capacity, write.enrolled
    changed.waitlisted, changed.last_place, changed.is_open = write.waitlisted, write.last_place, write.is_open
    fits = 0 <= changed.enrolled <= changed.capacity + changed.over_capacity
    if not fits or changed.over_capacity < 0 or changed.waitlisted < 0:
        raise StoreRejectedError(f"seats of section {write.section_id}: {changed}")
    return changed


def _changed_enrollments(database: MemoryDatabase, events: Iterable[Event]) -> dict[int, EnrollmentRow]:
    events = list(events)
    changed: dict[int, EnrollmentRow] = {}
    for new in new_enrollments(events):
        changed[new.enrollment_id] = EnrollmentRow(*new)
    for update in enrollment_updates(events):
        row = copy.copy(database.enrollments[update.enrollment_id])
        row.status, row.blocked_at, row.blocked_by = update.status, update.blocked_at, update.blocked_by
        row.credits = row.credits if update.credits is None else update.credits
        changed[update.enrollment_id] = row
    for row in changed.values():
        holder = database.holders.get((row.student_id, row.section_id), row.enrollment_id)
        if row.status != "dropped" and holder != row.enrollment_id:
            raise StoreRejectedError("a student is in a section twice")
    return changed
