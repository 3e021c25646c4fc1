"""The batch store on Postgres: one connection, one transaction a turn, array statements only."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from typing import Any

import asyncpg
import orjson

from allocator.model.catalogue import Meeting, Prerequisite, SectionFacts, Term
from allocator.model.events import Event
from allocator.model.record import RecordKey, RegistrationRecord
from allocator.model.section import HeldEnrollment, SectionState
from allocator.model.waitlist import Waiting
from allocator.ports import (
    Changes,
    CommitUnknownError,
    LockedRecords,
    StaleEpochError,
    StoredAnswer,
    StoreUnavailableError,
    Turn,
)
from persistence.names import ENROLLMENT_ID_BLOCK
from persistence.store import batch_sql as sql
from persistence.store.changes import enrollment_updates, messages, new_enrollments
from persistence.store.columns import as_columns, numbers
from persistence.store.history import event_to_row
from persistence.store.postgres_errors import CONNECTION_ERRORS, translate
from persistence.store.stored_outcomes import decode_outcome, encode_outcome

CONNECT_TIMEOUT_S = 2.0
COMMAND_TIMEOUT_S = 2.5
"""Just above the server's own statement timeout, so that the server's clear error comes first if it is alive."""

# A generic plan: with plans made for each set of arrays, planning is half of what Postgres does in a small turn.
SERVER_SETTINGS = {
    "application_name": "seatline-actor",
    "plan_cache_mode": "force_generic_plan",
    "statement_timeout": "2000",
    "lock_timeout": "1000",
    "idle_in_transaction_session_timeout": "2000",
    "synchronous_commit": "on",
    "jit": "off",
    "timezone": "UTC",
}


class PostgresTurn:
    """One open transaction on the store's connection."""

    def __init__(self, store: PostgresStore, connection: asyncpg.Connection) -> None:
        self._store = store
        self._connection = connection
        self.finished = False

    async def lock_records(self, wait: Sequence[RecordKey], skip: Sequence[RecordKey]) -> LockedRecords:
        """See ``allocator.ports.Turn``."""
        records: dict[RecordKey, RegistrationRecord] = {}
        version = None
        for statement, keys in ((sql.LOCK_RECORDS, wait), (sql.LOCK_RECORDS_SKIPPING, skip)):
            if keys:
                for row in await self._fetch(statement, *as_columns(keys, "nn")):
                    record = _record(row)
                    records[record.key] = record
                    version = row[11]
        return LockedRecords(records, version)

    async def answers(self, keys: Sequence[tuple[int, str]]) -> dict[tuple[int, str], StoredAnswer]:
        """See ``allocator.ports.Turn``."""
        if not keys:
            return {}
        rows = await self._fetch(sql.ANSWERS, *as_columns(keys, "nt"))
        return {(row[0], row[1]): StoredAnswer(row[0], row[1], row[2], decode_outcome(row[3])) for row in rows}

    async def enrollments(self, enrollment_ids: Sequence[int]) -> dict[int, HeldEnrollment]:
        """See ``allocator.ports.Turn``."""
        if not enrollment_ids:
            return {}
        rows = await self._fetch(sql.ENROLLMENTS, numbers(enrollment_ids))
        return {row[0]: HeldEnrollment(*row) for row in rows}

    async def commit(self, changes: Changes) -> None:
        """See ``allocator.ports.Turn``."""
        row = (await self._fetch(sql.COMMIT_CHANGES, *_commit_arguments(changes)))[0]
        missing = {section_id for section_id, _ in changes.fences}.difference(row[0], row[1])
        if missing:
            raise StaleEpochError(missing)
        self.finished = True
        try:
            await self._connection.execute("COMMIT")
        except Exception as error:
            self._store.discard()
            raise CommitUnknownError(str(error)) from error

    async def _fetch(self, statement: str, *arguments: object) -> list[Any]:
        with self._store.translating():
            rows: list[Any] = await self._connection.fetch(statement, *arguments)
            return rows


class PostgresStore:
    """Implements ``allocator.ports.Store``. For one drain loop: its methods never run at the same time."""

    def __init__(self, database_url: str) -> None:
        self._database_url = database_url
        self._connection: asyncpg.Connection | None = None

    @contextlib.asynccontextmanager
    async def turn(self) -> AsyncIterator[Turn]:
        """See ``allocator.ports.Store``."""
        connection = await self._connected()
        with self.translating():
            await connection.execute("BEGIN")
        turn = PostgresTurn(self, connection)
        try:
            yield turn
        finally:
            if not turn.finished and self._connection is connection:
                await self._roll_back(connection)

    async def activate(self, section_ids: Sequence[int], owner: str) -> list[SectionState]:
        """See ``allocator.ports.Store``."""
        connection = await self._connected()
        ids = sorted(section_ids)
        with self.translating():
            async with connection.transaction():
                rows = await connection.fetch(sql.ACTIVATE, ids, owner)
                waiting_rows = await connection.fetch(sql.WAITING, ids)
        waiting: dict[int, list[Waiting]] = {}
        for section_id, place, student_id, enrollment_id, blocked_at in waiting_rows:
            waiting.setdefault(section_id, []).append(Waiting(place, student_id, enrollment_id, blocked_at))
        return [SectionState._make((*row[:7], tuple(sorted(waiting.get(row[0], ()))), row[7])) for row in rows]

    async def facts(self, section_ids: Sequence[int]) -> list[SectionFacts]:
        """See ``allocator.ports.Store``."""
        connection = await self._connected()
        with self.translating():
            sections = await connection.fetch(sql.FACTS, list(section_ids))
            meeting_rows = await connection.fetch(sql.MEETINGS, list(section_ids))
            requisite_rows = await connection.fetch(sql.REQUISITES, list({row[1] for row in sections}))
        return _facts(sections, meeting_rows, requisite_rows)

    async def record_versions(self, keys: Sequence[RecordKey]) -> Mapping[RecordKey, int]:
        """See ``allocator.ports.Store``."""
        connection = await self._connected()
        with self.translating():
            rows = await connection.fetch(sql.RECORD_VERSIONS, *as_columns(keys, "nn"))
        return {RecordKey(row[0], row[1]): row[2] for row in rows}

    async def allocate_enrollment_ids(self) -> range:
        """See ``allocator.ports.Store``."""
        connection = await self._connected()
        with self.translating():
            first = await connection.fetchval(sql.NEXT_ENROLLMENT_ID)
        return range(first, first + ENROLLMENT_ID_BLOCK)

    async def close(self) -> None:
        """See ``allocator.ports.Store``."""
        self.discard()

    # The connection

    async def _connected(self) -> asyncpg.Connection:
        if self._connection is None or self._connection.is_closed():
            with self.translating():
                connection = await asyncpg.connect(
                    self._database_url,
                    timeout=CONNECT_TIMEOUT_S,
                    command_timeout=COMMAND_TIMEOUT_S,
                    server_settings=SERVER_SETTINGS,
                )
                self._connection = connection
                await _require_durability(connection)
        return self._connection

    def discard(self) -> None:
        """Give up the connection at once: ``close`` would wait for an answer that may never come."""
        if self._connection is not None:
            self._connection.terminate()
            self._connection = None

    @contextlib.contextmanager
    def translating(self) -> Iterator[None]:
        """Turn driver errors into store errors; a connection that failed is given up."""
        try:
            yield
        except Exception as error:
            translated = translate(error)
            if isinstance(translated, StoreUnavailableError):
                self.discard()
            raise translated from error

    async def _roll_back(self, connection: asyncpg.Connection) -> None:
        try:
            await connection.execute("ROLLBACK")
        except (asyncpg.PostgresError, *CONNECTION_ERRORS):  # a closed connection rolls back by itself
            self.discard()


async def _require_durability(connection: asyncpg.Connection) -> None:
    """Refuse to run where a commit is acknowledged before it is on disk."""
    for setting in ("fsync", "full_page_writes"):
        if await connection.fetchval(f"SHOW {setting}") != "on":
            raise asyncpg.InterfaceError(f"{setting} is off: an acknowledged enrolment could be lost")


def _commit_arguments(changes: Changes) -> list[str]:
    epochs = dict(changes.fences)
    written = {write.section_id for write in changes.seats}
    unchanged = [fence for fence in changes.fences if fence[0] not in written]  # writing has a fence of its own
    events: list[Event] = changes.events
    record_rows = [(*r.key, r.version, r.credits, numbers(r.enrolled), numbers(r.waitlisted)) for r in changes.records]
    answer_rows = [(a.student_id, a.key, a.request, encode_outcome(a.outcome)) for a in changes.answers]
    return [
        *as_columns(unchanged, "nn"),
        *as_columns(changes.seats, "nnnnnnnnnn"),
        *as_columns(new_enrollments(events), "nnntnn"),
        *as_columns(enrollment_updates(events), "ntnnt"),
        *as_columns(record_rows, "nnnntt"),
        *as_columns([event_to_row(event, epochs[event.section_id]) for event in events], "nntnnnntn"),
        *as_columns(answer_rows, "nttt"),
        *as_columns(messages(events), "ttt"),
    ]


def _record(row: Any) -> RegistrationRecord:
    completed = {} if row[7] == "{}" else {int(course): grade for course, grade in orjson.loads(row[7]).items()}
    return RegistrationRecord(
        RecordKey(row[0], row[1]), row[2], row[3], row[4], row[5], row[6], completed, tuple(row[8]), row[9], row[10]
    )


def _facts(sections: list[Any], meeting_rows: list[Any], requisite_rows: list[Any]) -> list[SectionFacts]:
    meetings: dict[int, list[Meeting]] = {}
    for section_id, *meeting in meeting_rows:
        meetings.setdefault(section_id, []).append(Meeting(*meeting))
    prerequisites: dict[int, list[Prerequisite]] = {}
    corequisites: dict[int, list[int]] = {}
    for course_id, required_id, kind, min_grade in requisite_rows:
        if kind == "prerequisite":
            prerequisites.setdefault(course_id, []).append(Prerequisite(required_id, min_grade))
        else:
            corequisites.setdefault(course_id, []).append(required_id)
    return [
        SectionFacts(
            section_id,
            course_id,
            component,
            credit_count,
            waitlist_limit,
            Term(semester_id, opens_at, closes_at),
            tuple(meetings.get(section_id, ())),
            tuple(prerequisites.get(course_id, ())),
            tuple(corequisites.get(course_id, ())),
        )
        for section_id, course_id, component, credit_count, waitlist_limit, semester_id, opens_at, closes_at in sections
    ]
