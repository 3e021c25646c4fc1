"""What the domain needs of the world. Implemented in persistence/, faked by the in-memory store, wired in cluster/."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol

from allocator.model.catalogue import SectionFacts
from allocator.model.delivery import Envelope, Reply
from allocator.model.events import Event
from allocator.model.outcomes import Outcome
from allocator.model.record import RecordKey, RegistrationRecord
from allocator.model.section import HeldEnrollment, SectionState


class StoreError(Exception):
    """The store could not do what was asked."""


class StoreUnavailableError(StoreError):
    """The store is away or too slow. Nothing was committed."""


class StoreBusyError(StoreError):
    """Another transaction was in the way (lock timeout, deadlock, same key at once). Nothing was committed."""


class StaleEpochError(StoreError):
    """Another actor owns one of the sections by now. Nothing was committed."""

    def __init__(self, section_ids: Iterable[int]) -> None:
        self.section_ids = frozenset(section_ids)
        super().__init__(f"fenced out of sections {sorted(self.section_ids)}")


class CommitUnknownError(StoreError):
    """The connection was lost between COMMIT and its reply: it may or may not have been committed."""


class StoreRejectedError(StoreError):
    """A constraint refused the batch: a backstop caught what no rule did. Nothing was committed."""


class SeatWrite(NamedTuple):
    """The new counts of a section, valid only if its row still has ``epoch`` and ``seq_before``."""

    section_id: int
    epoch: int
    seq_before: int
    seq: int
    capacity: int
    enrolled: int
    waitlisted: int
    last_place: int
    is_open: bool
    over_capacity: int = 0


class StoredAnswer(NamedTuple):
    """The final outcome of a request, kept under its key."""

    student_id: int
    key: str
    request: str
    outcome: Outcome


@dataclass(slots=True)
class Changes:
    """All that one turn writes, in one transaction.

    ``fences`` are the (section id, epoch) pairs of all sections that the turn decided about, changed or not:
    a refusal by an actor that no longer owns the section must not go out either.
    """

    fences: list[tuple[int, int]] = field(default_factory=list)
    seats: list[SeatWrite] = field(default_factory=list)
    events: list[Event] = field(default_factory=list)
    records: list[RegistrationRecord] = field(default_factory=list)
    answers: list[StoredAnswer] = field(default_factory=list)


class LockedRecords(NamedTuple):
    """The records that could be locked, and the version of the catalogue at that moment (None if none was locked)."""

    records: dict[RecordKey, RegistrationRecord]
    catalogue_version: int | None


class Turn(Protocol):
    """One open transaction. Leaving its context without a commit rolls back."""

    async def lock_records(self, wait: Sequence[RecordKey], skip: Sequence[RecordKey]) -> LockedRecords:
        """Lock records, in order of their keys, and read them.

        First those of ``wait``, waiting for whoever holds them; then those of ``skip`` that nobody holds.
        A key of ``wait`` that is missing from the answer does not exist; one of ``skip`` may be held elsewhere.
        """

    async def answers(self, keys: Sequence[tuple[int, str]]) -> dict[tuple[int, str], StoredAnswer]:
        """Stored answers by (student id, key). The students' records must be locked."""

    async def enrollments(self, enrollment_ids: Sequence[int]) -> dict[int, HeldEnrollment]:
        """Enrolments by id. Their students' records must be locked."""

    async def commit(self, changes: Changes) -> None:
        """Write everything and commit.

        Raises:
            StaleEpochError, StoreBusyError, StoreUnavailableError, StoreRejectedError: nothing was committed.
            CommitUnknownError: it may have been.
        """


class Store(Protocol):
    """The durable truth. Used by one drain loop at a time."""

    def turn(self) -> AbstractAsyncContextManager[Turn]:
        """Begin a transaction."""

    async def activate(self, section_ids: Sequence[int], owner: str) -> list[SectionState]:
        """Raise the epochs of the sections, in the name of ``owner``, and read them; unknown ids are left out.

        Waits out any transaction of an earlier owner, so that what is read is final.
        """

    async def facts(self, section_ids: Sequence[int]) -> list[SectionFacts]:
        """Static facts; unknown ids are left out."""

    async def record_versions(self, keys: Sequence[RecordKey]) -> Mapping[RecordKey, int]:
        """The current versions of some records, without locking them."""

    async def allocate_enrollment_ids(self) -> range:
        """A block of ids that nobody else will ever get."""

    async def close(self) -> None:
        """Let go of connections."""


class Lease(Protocol):
    """Who is believed to own a section. A hint that avoids fights; the epoch decides."""

    async def acquire(self, section_ids: Sequence[int]) -> Mapping[int, str]:
        """Take the leases of sections that no living actor holds.

        Returns:
            the owners of those that someone else holds. Never raises: with the lease store away everything is mine.
        """

    async def release(self, section_ids: Sequence[int]) -> bool:
        """Give leases back, if they are mine. Never raises.

        Returns:
            whether others may take them from now on. If not, that comes later by itself.
        """


class Committed(NamedTuple):
    """What a commit changed, for whoever keeps copies: the new counts of sections, and students whose list changed."""

    seats: Sequence[SeatWrite]
    student_ids: Collection[int]


class Announcer(Protocol):
    """Tells, once, what was committed. Caches, seat boards and whoever else keeps copies listen."""

    async def announce(self, committed: Committed) -> None:
        """Tell of a commit before it is acknowledged. Never raises and never takes long."""


class Clock(Protocol):
    """Time. ``now`` is Unix seconds, for windows; ``monotonic`` is for deadlines and leases."""

    def now(self) -> float:
        """Unix seconds."""

    def monotonic(self) -> float:
        """Seconds that never go back."""


class CommandGateway(Protocol):
    """The one way in: finds the actor that owns the command's sections and brings back what came of it."""

    async def submit(self, envelope: Envelope, deadline_s: float | None = None) -> Reply:
        """Have a command decided within ``deadline_s`` seconds (the configured deadline if None).

        Never raises for a broken dependency: the command is then undecided, ``OVERLOADED`` or ``UNAVAILABLE`` (it had
        no effect) or ``UNKNOWN`` (it may have had one).
        """

    def send(self, envelope: Envelope, tell: Callable[[Reply], None]) -> None:
        """The same without a coroutine: ``tell`` is called once, with the reply, within the configured deadline."""
