"""A running drain loop on any store, with simple stand-ins for everything else, and commands to send to it."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import time
from collections.abc import AsyncIterator, Mapping, Sequence

from allocator.model.commands import ChangeCapacity, Command, Drop, Enroll
from allocator.model.delivery import Envelope, Reply
from allocator.model.outcomes import Outcome
from allocator.ports import Committed, Lease, Store
from allocator.turns.service import Limits, SectionService

_keys = itertools.count(1)


class TestClock:
    """Real monotonic time, which can be put forward; the wall clock can be set."""

    __test__ = False

    def __init__(self) -> None:
        self.wall: float | None = None
        self.ahead_s = 0.0

    def now(self) -> float:
        return time.time() if self.wall is None else self.wall

    def monotonic(self) -> float:
        return time.monotonic() + self.ahead_s


class LocalLease:
    """Leases in a dict, shared by the services of a test."""

    def __init__(self, owners: dict[int, str], me: str) -> None:
        self._owners = owners
        self._me = me

    async def acquire(self, section_ids: Sequence[int]) -> Mapping[int, str]:
        held = {one: self._owners.setdefault(one, self._me) for one in section_ids}
        return {one: owner for one, owner in held.items() if owner != self._me}

    async def release(self, section_ids: Sequence[int]) -> bool:
        for one in section_ids:
            if self._owners.get(one) == self._me:
                del self._owners[one]
        return True


class NoLease:
    """As with Redis gone: everything is mine, and the epoch alone decides."""

    async def acquire(self, section_ids: Sequence[int]) -> Mapping[int, str]:
        return {}

    async def release(self, section_ids: Sequence[int]) -> bool:
        return False


class RecordingAnnouncer:
    """Remembers what was announced."""

    def __init__(self) -> None:
        self.sections: set[int] = set()
        self.students: set[int] = set()

    async def announce(self, committed: Committed) -> None:
        self.sections.update(one.section_id for one in committed.seats)
        self.students.update(committed.student_ids)


def make_service(
    store: Store,
    name: str = "actor-0",
    lease: Lease | None = None,
    clock: TestClock | None = None,
    announcer: RecordingAnnouncer | None = None,
    **limits: float,
) -> SectionService:
    """A service that is not running yet."""
    settings = {"recheck_interval_s": 0.05, **limits}
    return SectionService(
        name,
        store,
        lease or NoLease(),
        announcer or RecordingAnnouncer(),
        clock or TestClock(),
        Limits(**settings),  # type: ignore[arg-type]
    )


@contextlib.asynccontextmanager
async def running(service: SectionService) -> AsyncIterator[SectionService]:
    """The service with its drain loop."""
    task = asyncio.create_task(service.run())
    try:
        yield service
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


async def ask(service: SectionService, wanted: Envelope | Command, budget_s: float = 5.0) -> Outcome:
    """The outcome of one command that is decided."""
    reply = await ask_for_reply(service, wanted, budget_s)
    assert reply.outcome is not None, f"{wanted} was not decided: {reply}"
    return reply.outcome


async def ask_for_reply(service: SectionService, wanted: Envelope | Command, budget_s: float = 5.0) -> Reply:
    """The reply to one command."""
    return (await service.submit([(sealed(wanted), budget_s)]))[0]


def sealed(wanted: Envelope | Command) -> Envelope:
    """A command in an envelope; what has none has no key either."""
    return wanted if isinstance(wanted, Envelope) else Envelope(wanted)


def enroll(student_id: int, section_id: int, *, key: str | None = None, join_waitlist: bool = True) -> Envelope:
    """An enrolment with a key of its own, or the client's."""
    own = key is not None
    return Envelope(Enroll(section_id, student_id, join_waitlist), key or f"key-{next(_keys)}", own, own)


def drop(student_id: int, section_id: int, enrollment_id: int | None) -> Envelope:
    """A drop with a key of its own."""
    assert enrollment_id is not None
    return Envelope(Drop(section_id, student_id, enrollment_id), f"key-{next(_keys)}")


def capacity(section_id: int, seats: int) -> ChangeCapacity:
    """A change of capacity by nobody in particular."""
    return ChangeCapacity(section_id, seats, 1)
