"""The ports of the API: what it needs of other parts, beside ``allocator.ports.CommandGateway``.

Implemented in `persistence/`, passed in by `cluster/processes/api_server.py`. Unless its docstring says that it never
raises, a call may raise ``StoreUnavailableError`` or ``StoreBusyError`` of allocator.ports, which `api/http/errors.py`
turns into answers.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import datetime
from typing import Protocol, TypeVar

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

T = TypeVar("T")


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
        """Courses in the order of their codes, beginning after ``after_code``. A condition that is None is left out.

        Departments are named in any case; a text is found whatever its case and accents, in codes also whatever its
        spaces and hyphens.
        """

    async def has_department(self, code: str) -> bool:
        """Whether there is a department of that code, in any case."""

    async def course(self, course_id: int) -> Course | None:
        """One course."""

    async def sections_of_course(self, course_id: int, semester_id: int | None) -> Sequence[SectionView] | None:
        """The sections of a course in the order of semester and code; None if there is no such course."""

    async def section(self, section_id: int) -> SectionView | None:
        """One section, as it is at this moment."""


class LiveSections(Protocol):
    """Sections with their seats, kept in memory. A reader sees at least what was acknowledged before it asked."""

    async def section(self, section_id: int) -> SectionView | None:
        """The section; None if there is none."""

    def look(self, section_id: int, tell: Callable[[SectionView | None], None]) -> bool:
        """Look at a section in memory, without a coroutine.

        Args:
            section_id: of the section.
            tell: called once, later, with the section, or with None if it is not in memory any more.

        Returns:
            Whether the section is in memory. If not, ``tell`` is never called.
        """


class EnrollmentReader(Protocol):
    """Enrolments of students."""

    async def find(self, enrollment_id: int) -> EnrollmentView | None:
        """An enrolment of any student, dropped ones included."""

    async def held_by(self, student_id: int) -> Sequence[EnrollmentView]:
        """The seats and places that the student holds now."""

    async def positions(self, enrollment_ids: Sequence[int]) -> Mapping[int, int]:
        """The positions of these enrolments on their waitlists, 1 being next. Those that do not wait are left out."""

    async def schedule(self, student_id: int, semester_id: int | None) -> Sequence[ScheduledSection]:
        """The sections in which the student holds a seat."""


class RosterReader(Protocol):
    """Who is in a section."""

    async def teacher_user_id(self, section_id: int) -> int | None:
        """The user who teaches the section; None if nobody does."""

    async def roster(self, section_id: int) -> Roster | None:
        """The students of a section; None if there is no such section."""


class RosterExports(Protocol):
    """Rosters as files that are kept for a few minutes."""

    async def put(self, roster: Roster, *, user_id: int, with_bom: bool) -> ExportLink:
        """Keep a roster as a CSV file for one user, with a byte order mark if ``with_bom``."""

    async def get(self, export_id: int, user_id: int) -> bytes | None:
        """A file that this API hands out itself; None if the user has none of that id, or it has expired."""


class Accounts(Protocol):
    """Users and their passwords."""

    async def by_email(self, email: str) -> Account | None:
        """The user with that email address, whatever its case."""

    async def by_id(self, user_id: int) -> Account | None:
        """The user with that id."""

    async def slowest_bcrypt_cost(self) -> int | None:
        """The highest cost of the bcrypt hashes that are stored; None if there are none."""

    async def replace_password_hash(self, user_id: int, old_hash: str, new_hash: str) -> None:
        """Store a better hash of the same password, unless the password was changed meanwhile."""


class TokenStore(Protocol):
    """Refresh tokens, identified by their hashes. All tokens that descend from one login are a family."""

    async def open_family(self, user_id: int, token_hash: bytes, expires_at: datetime) -> None:
        """Store the first token of a login."""

    async def rotate(self, token_hash: bytes, new_hash: bytes, expires_at: datetime) -> Account | RefusedRefresh:
        """Exchange a token for its successor. If it was exchanged a while ago, its whole family is revoked."""

    async def revoke_family(self, token_hash: bytes) -> None:
        """Revoke the whole family of this token. An unknown token changes nothing."""

    async def owner_of(self, token_hash: bytes) -> int | None:
        """The user of a token, valid or not; None if it is unknown."""


class AuditLog(Protocol):
    """A record of what staff do, and of who tries to reach what belongs to others."""

    async def record(self, user_id: int, action: str, subject: str, request_id: str) -> None:
        """Add an entry."""


class Cache(Protocol):
    """A read-through cache. While its server is away, every call loads."""

    async def get_or_load(
        self, key: str, ttl_s: float, load: Callable[[], Awaitable[bytes]], decode: Callable[[bytes], T]
    ) -> T:
        """The cached bytes, else those that ``load`` returns, decoded. Calls at the same time share one ``load``.

        Cached bytes that ``decode`` does not take count as none, and are replaced.
        """


class RateLimiter(Protocol):
    """Rate limits shared by all API processes. Never raises: while its server is away it counts locally."""

    async def hit(self, key: str, rate_per_s: float, burst: int) -> float | None:
        """Count one call. None if it is allowed, else the seconds after which to try again."""

    async def peek(self, key: str, rate_per_s: float, burst: int) -> float | None:
        """The same without counting it."""


CollectActorStats = Callable[[], Awaitable[Sequence[Mapping[str, object]]]]
"""Returns the figures of the section actors, one mapping for each; its form is in `api/monitoring/actor_metrics.py`."""

Probe = Callable[[], Awaitable[object]]
"""Raises, or takes too long, if the dependency that it probes is not well."""
