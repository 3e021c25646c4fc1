"""Postgres as a section actor meets it: the in-memory tables behind a connection that takes time and breaks.

Statements and their replies are messages that can be lost. A commit takes the row locks of its sections with its
statement, and shows with COMMIT; an activation waits for those locks. A session ends with its connection, or when it
stays idle in a transaction.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping, Sequence
from typing import TypeVar

from allocator.model.catalogue import SectionFacts
from allocator.model.record import RecordKey
from allocator.model.section import HeldEnrollment, SectionState
from allocator.ports import (
    Changes,
    CommitUnknownError,
    LockedRecords,
    StoreBusyError,
    StoredAnswer,
    StoreUnavailableError,
    Turn,
)
from persistence.store.memory import MemoryDatabase, MemoryStore, MemoryTurn
from tests.simulation.chaos import Chaos
from tests.simulation.plan import Fault
from tests.simulation.process import Process

T = TypeVar("T")

LOCK_TIMEOUT_S = 1.0
IDLE_IN_TRANSACTION_S = 2.0
LOCK_POLL_S = 0.005


class SimulatedPostgres:
    """The server: what all stores share.

    Args:
        on_commit: called after each commit, while nothing else can happen.
    """

    def __init__(self, chaos: Chaos, on_commit: Callable[[Changes], None]) -> None:
        self.database = MemoryDatabase(lock_timeout_s=LOCK_TIMEOUT_S)
        self.chaos = chaos
        self.on_commit = on_commit
        self.is_up = True
        self.sessions: dict[Session, None] = {}
        self._row_locks: dict[int, Session] = {}

    def store(self, process: Process) -> SimulatedStore:
        """A store for one drain loop."""
        return SimulatedStore(self, process)

    def crash(self) -> None:
        """Stop at once: every session ends, what was committed stays."""
        self.is_up = False
        for session in list(self.sessions):
            session.end()

    def start(self) -> None:
        """Come back."""
        self.is_up = True

    async def lock_rows(self, session: Session, section_ids: Iterable[int]) -> None:
        """Take the row locks of sections, in the order of their ids."""
        deadline = asyncio.get_running_loop().time() + LOCK_TIMEOUT_S
        for section_id in sorted(section_ids):
            while self._row_locks.get(section_id, session) is not session:
                if asyncio.get_running_loop().time() >= deadline:
                    raise StoreBusyError(f"section {section_id} is locked elsewhere")
                await asyncio.sleep(LOCK_POLL_S)
            session.require_open()
            self._row_locks[section_id] = session

    def unlock_rows(self, session: Session) -> None:
        """Release what a session holds."""
        self._row_locks = {one: holder for one, holder in self._row_locks.items() if holder is not session}


class Session:
    """One transaction as the server sees it."""

    def __init__(self, server: SimulatedPostgres) -> None:
        self.server = server
        self.turn = MemoryTurn(server.database)
        self.is_open = True
        self._idle_timer: asyncio.TimerHandle | None = None
        server.sessions[self] = None

    def require_open(self) -> None:
        """Fail if the server has ended this session."""
        if not self.is_open:
            raise StoreUnavailableError("the session is gone")

    def begin_statement(self) -> None:
        """A statement has arrived."""
        self.require_open()
        if self._idle_timer is not None:
            self._idle_timer.cancel()
            self._idle_timer = None

    def end_statement(self) -> None:
        """It is done: from now on the session idles in its transaction, for so long and no longer."""
        if self.is_open:
            self._idle_timer = asyncio.get_running_loop().call_later(IDLE_IN_TRANSACTION_S, self.end)
        else:
            self._release()  # the session ended under the statement: what it took since is not held either

    def commit(self, changes: Changes) -> None:
        """Make the changes seen."""
        self.require_open()
        coroutine = self.turn.commit(changes)
        with contextlib.suppress(StopIteration):
            coroutine.send(None)  # it awaits nothing: everything or nothing, in one step
        self.server.on_commit(changes)
        self.end()

    def end(self) -> None:
        """Release all locks; what was not committed is gone."""
        if not self.is_open:
            return
        self.is_open = False
        if self._idle_timer is not None:
            self._idle_timer.cancel()
        self.server.sessions.pop(self, None)
        self._release()

    def _release(self) -> None:
        self.server.unlock_rows(self)
        self.server.chaos.background(self.turn.end())


class SimulatedTurn:
    """One transaction as the actor sees it."""

    def __init__(self, store: SimulatedStore, session: Session) -> None:
        self._store = store
        self._session = session

    async def lock_records(self, wait: Sequence[RecordKey], skip: Sequence[RecordKey]) -> LockedRecords:
        """See ``allocator.ports.Turn``."""
        return await self._statement(lambda: self._session.turn.lock_records(wait, skip))

    async def answers(self, keys: Sequence[tuple[int, str]]) -> dict[tuple[int, str], StoredAnswer]:
        """See ``allocator.ports.Turn``."""
        return await self._statement(lambda: self._session.turn.answers(keys)) if keys else {}

    async def enrollments(self, enrollment_ids: Sequence[int]) -> dict[int, HeldEnrollment]:
        """See ``allocator.ports.Turn``."""
        return await self._statement(lambda: self._session.turn.enrollments(enrollment_ids)) if enrollment_ids else {}

    async def commit(self, changes: Changes) -> None:
        """See ``allocator.ports.Turn``."""
        await self._statement(lambda: self._write(changes))
        await self._store.process.edge()
        chaos = self._store.server.chaos
        if chaos.strikes(Fault.COMMIT_LATE):
            chaos.background(self._commit_late(changes))
            raise CommitUnknownError("gave up waiting for COMMIT")
        if chaos.strikes(Fault.COMMIT_LOST):
            self._session.end()
            raise CommitUnknownError("COMMIT did not arrive")
        await chaos.latency()
        try:
            self._session.commit(changes)
        except StoreUnavailableError as error:
            raise CommitUnknownError("the session ended before COMMIT") from error
        await chaos.latency()
        await self._store.process.edge()
        if chaos.strikes(Fault.COMMIT_LOST):
            raise CommitUnknownError("the reply to COMMIT did not arrive")

    async def _write(self, changes: Changes) -> None:
        """The statement before COMMIT: lock the rows of the sections, see that they are still ours."""
        await self._session.server.lock_rows(self._session, [section_id for section_id, _ in changes.fences])
        self._session.turn.check_fences(changes)

    async def _commit_late(self, changes: Changes) -> None:
        """The server had received COMMIT when the client gave up."""
        await asyncio.sleep(self._store.server.chaos.random.uniform(0.0, 0.8))
        with contextlib.suppress(StoreUnavailableError):
            self._session.commit(changes)

    async def _statement(self, work: Callable[[], Awaitable[T]]) -> T:
        return await self._store.round_trip(self._session, work)


class SimulatedStore(MemoryStore):
    """Implements ``allocator.ports.Store`` for one actor."""

    def __init__(self, server: SimulatedPostgres, process: Process) -> None:
        super().__init__(server.database)
        self.server = server
        self.process = process

    @contextlib.asynccontextmanager
    async def turn(self) -> AsyncIterator[Turn]:
        """See ``allocator.ports.Store``."""
        session = Session(self.server)
        given_up = False
        try:
            yield SimulatedTurn(self, session)
        except CommitUnknownError:
            given_up = True  # COMMIT may be under way: the server ends this session by itself
            raise
        finally:
            if not given_up:
                session.end()

    async def activate(self, section_ids: Sequence[int], owner: str) -> list[SectionState]:
        """See ``allocator.ports.Store``."""
        session = Session(self.server)

        async def update() -> list[SectionState]:
            await self.server.lock_rows(session, section_ids)
            return await MemoryStore.activate(self, section_ids, owner)

        try:
            return await self.round_trip(session, update)
        finally:
            session.end()

    async def facts(self, section_ids: Sequence[int]) -> list[SectionFacts]:
        """See ``allocator.ports.Store``."""
        return await self._read(lambda: super(SimulatedStore, self).facts(section_ids))

    async def record_versions(self, keys: Sequence[RecordKey]) -> Mapping[RecordKey, int]:
        """See ``allocator.ports.Store``."""
        return await self._read(lambda: super(SimulatedStore, self).record_versions(keys))

    async def allocate_enrollment_ids(self) -> range:
        """See ``allocator.ports.Store``."""
        return await self._read(super().allocate_enrollment_ids)

    async def _read(self, work: Callable[[], Awaitable[T]]) -> T:
        session = Session(self.server)
        try:
            return await self.round_trip(session, work)
        finally:
            session.end()

    async def round_trip(self, session: Session, work: Callable[[], Awaitable[T]]) -> T:
        """One statement: there, done, and back, unless the connection breaks on the way."""
        chaos = self.server.chaos
        await self.process.edge()
        await chaos.latency()
        if not self.server.is_up:
            raise StoreUnavailableError("Postgres is down")
        if chaos.strikes(Fault.POSTGRES_CUT):
            session.end()
            raise StoreUnavailableError("the connection broke")
        session.begin_statement()
        try:
            answer = await work()
        finally:
            session.end_statement()
        await chaos.latency()
        await self.process.edge()
        session.require_open()
        if chaos.strikes(Fault.POSTGRES_CUT):
            session.end()
            raise StoreUnavailableError("the connection broke before the reply")
        return answer
