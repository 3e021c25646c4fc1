"""What the API needs of the world, beside ``allocator.ports.CommandGateway``.

Implemented in persistence/, wired in server.py. Unless it says that it never raises, a call here may raise
``StoreUnavailableError`` or ``StoreBusyError`` of allocator.ports: the error map answers them.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import datetime
from typing import Protocol

from allocator.model.read_models import (
    Account,
    Course,
    CourseSummary,
    EnrollmentView,
    ExportLink,
    RefusedRefresh,
    Roster,
    ScheduledSection,
    SectionView,
    Semester,
)


class CatalogueReader(Protocol):
    """Courses and sections, as everybody may see them."""

    async def semesters(self) -> Sequence[Semester]:
        """All semesters, the newest first."""

    async def courses(
        self,
        *,
        semester_id: int | None,
        department: str | None,
        text: str | None,
        after_code: str | None,
        limit: int,
    ) -> Sequence[CourseSummary]:
        """Courses in the order of their codes, beginning after ``after_code``. Every None leaves a condition out."""

    async def course(self, course_id: int) -> Course | None:
        """One course."""

    async def sections_of_course(self, course_id: int, semester_id: int | None) -> Sequence[SectionView] | None:
        """The sections of a course in the order of semester and code; None if there is no such course."""

    async def section(self, section_id: int) -> SectionView | None:
        """One section, as it is at this moment."""


class LiveSections(Protocol):
    """Sections with their seats, as they are now: no reader sees less than what was acknowledged before it came."""

    async def section(self, section_id: int) -> SectionView | None:
        """The section; None if there is none."""

    def look(self, section_id: int, tell: Callable[[SectionView | None], None]) -> bool:
        """The same without a coroutine, if the section is at hand; False if it is not.

        ``tell`` is called once, later, with None if the section is not at hand any more.
        """


class EnrollmentReader(Protocol):
    """Enrolments of students."""

    async def find(self, enrollment_id: int) -> EnrollmentView | None:
        """One enrolment, whosever it is, dropped ones too."""

    async def held_by(self, student_id: int) -> Sequence[EnrollmentView]:
        """The seats and places that the student holds now."""

    async def positions(self, enrollment_ids: Sequence[int]) -> Mapping[int, int]:
        """Where on their waitlists these stand, 1 being next. Those that do not wait are left out."""

    async def schedule(self, student_id: int, semester_id: int | None) -> Sequence[ScheduledSection]:
        """The sections in which the student holds a seat."""


class RosterReader(Protocol):
    """Who is in a section."""

    async def teacher_user_id(self, section_id: int) -> int | None:
        """The user who teaches the section, if anyone does."""

    async def roster(self, section_id: int) -> Roster | None:
        """The students of a section; None if there is no such section."""


class RosterExports(Protocol):
    """Rosters as files, for a few minutes."""

    async def put(self, roster: Roster, *, user_id: int, with_bom: bool) -> ExportLink:
        """Keep a roster as CSV for the user who asks, with a byte order mark if wanted."""

    async def get(self, export_id: int, user_id: int) -> bytes | None:
        """An export that this API hands out itself; None if there is none of that id and user, or no more."""


class Accounts(Protocol):
    """Users and their passwords."""

    async def by_email(self, email: str) -> Account | None:
        """The user of that address; case does not matter."""

    async def by_id(self, user_id: int) -> Account | None:
        """The user of that id."""

    async def replace_password_hash(self, user_id: int, old_hash: str, new_hash: str) -> None:
        """Store a better hash of the same password, unless the password was changed meanwhile."""


class TokenStore(Protocol):
    """Refresh tokens, known by their hashes. The tokens that follow from one login are a family."""

    async def open_family(self, user_id: int, token_hash: bytes, expires_at: datetime) -> None:
        """Store the first token of a login."""

    async def rotate(self, token_hash: bytes, new_hash: bytes, expires_at: datetime) -> Account | RefusedRefresh:
        """Exchange a token for its successor. One that was exchanged before revokes its whole family."""

    async def revoke_family(self, token_hash: bytes) -> None:
        """Revoke every token that follows from the login of this one. An unknown token changes nothing."""

    async def owner_of(self, token_hash: bytes) -> int | None:
        """The user of a token, whatever became of it; None if nobody knows it."""


class AuditLog(Protocol):
    """Who looked at, or reached for, what is not their own."""

    async def record(self, user_id: int, action: str, subject: str, request_id: str) -> None:
        """Add an entry."""


class Cache(Protocol):
    """Read-through cache. A hint: with its server away every call loads."""

    async def get_or_load(self, key: str, ttl_s: float, load: Callable[[], Awaitable[bytes]]) -> bytes:
        """The cached bytes, or those that ``load`` gives; at once for all who ask at once."""


class RateLimiter(Protocol):
    """Rates shared by all API processes. Never raises: with its server away it falls back to a local count."""

    async def hit(self, key: str, rate_per_s: float, burst: int) -> float | None:
        """Count one call. None if it is allowed, else the seconds after which to try again."""


CollectActorStats = Callable[[], Awaitable[Sequence[Mapping[str, object]]]]
"""Figures of the section actors, one mapping each: see api/monitoring/actor_metrics.py for its form."""

Probe = Callable[[], Awaitable[object]]
"""Raises, or takes too long, if what it probes is not well."""
