"""Fakes of all ports of the API."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import TypeVar

from allocator.model.commands import Command
from allocator.model.delivery import Envelope, Reply
from allocator.model.outcomes import Code, Outcome
from allocator.model.read_models import (
    Account,
    Course,
    CourseSummary,
    EnrollmentView,
    ExportLink,
    RefusedRefresh,
    Requisite,
    Role,
    RoomedMeeting,
    Roster,
    RosterEntry,
    ScheduledSection,
    SectionView,
    Semester,
)
from api.services import ApiConfig, Services

T = TypeVar("T")

SECRET = "a secret for tests, long enough to sign with"

STUDENT = Account(11, "ada@example.edu", "Ada", Role.STUDENT, None, False, student_id=1, student_number="S001")
OTHER_STUDENT = Account(12, "bob@example.edu", "Bob", Role.STUDENT, None, False, student_id=2, student_number="S002")
TEACHER = Account(21, "tea@example.edu", "Tea", Role.TEACHER, None, False)
OTHER_TEACHER = Account(22, "tom@example.edu", "Tom", Role.TEACHER, None, False)
ADMIN = Account(31, "adm@example.edu", "Adm", Role.ADMIN, None, False)

AT = datetime(2026, 9, 1, 8, 0, tzinfo=UTC)
MONDAY_NINE = RoomedMeeting(0, 9 * 60, 10 * 60 + 15, 0b1011, "Hall 1")
SECTION = SectionView(
    id=7,
    course_id=5,
    course_code="CS 101",
    course_title="Programming",
    semester_id=3,
    semester="2026F",
    code="A01",
    component="LE",
    credits=4,
    capacity=30,
    enrolled=28,
    waitlisted=0,
    waitlist_limit=None,
    is_open=True,
    teacher="Tea",
    meetings=(MONDAY_NINE,),
)


def enrollment(
    enrollment_id: int,
    student_id: int = 1,
    *,
    status: str = "enrolled",
    place: int | None = None,
    semester: tuple[int, str] = (3, "2026F"),
    blocked_by: tuple[str, ...] = (),
) -> EnrollmentView:
    """An enrolment in the one section."""
    return EnrollmentView(
        id=enrollment_id,
        student_id=student_id,
        section_id=7,
        semester_id=semester[0],
        semester=semester[1],
        course_code="CS 101",
        course_title="Programming",
        section_code="A01",
        component="LE",
        credits=4,
        status=status,
        place=place,
        blocked_by=blocked_by,
        created_at=AT,
        updated_at=AT,
    )


class FakeGateway:
    """Remembers commands and answers with what the test says."""

    def __init__(self) -> None:
        self.envelopes: list[Envelope] = []
        self.deadlines_s: list[float | None] = []
        self.reply = Reply(Outcome(Code.ENROLLED, 7, 100))

    def decide(self, outcome: Outcome, *, replayed: bool = False) -> None:
        """Answer with this outcome from now on."""
        self.reply = Reply(outcome, replayed=replayed)

    @property
    def commands(self) -> list[Command]:
        return [envelope.command for envelope in self.envelopes]

    async def submit(self, envelope: Envelope, deadline_s: float | None = None) -> Reply:
        self.envelopes.append(envelope)
        self.deadlines_s.append(deadline_s)
        if self.reply.outcome is None:
            return self.reply
        (section_id,) = envelope.command.needs.section_ids
        return self.reply._replace(outcome=self.reply.outcome._replace(section_id=section_id))

    def send(self, envelope: Envelope, tell: Callable[[Reply], None]) -> None:
        submitted = asyncio.ensure_future(self.submit(envelope))
        submitted.add_done_callback(lambda done: tell(done.result()))


class FakeBoard:
    """Has what the catalogue has, at hand once it was read."""

    def __init__(self, catalogue: FakeCatalogue) -> None:
        self._catalogue = catalogue
        self._at_hand: dict[int, SectionView | None] = {}

    async def section(self, section_id: int) -> SectionView | None:
        self._at_hand[section_id] = await self._catalogue.section(section_id)
        return self._at_hand[section_id]

    def look(self, section_id: int, tell: Callable[[SectionView | None], None]) -> bool:
        if self._at_hand.get(section_id) is None:
            return False
        asyncio.get_running_loop().call_soon(tell, self._at_hand[section_id])
        return True


class FakeCatalogue:
    """One section of many courses. ``error``, if set, is raised by every read."""

    def __init__(self) -> None:
        self.error: Exception | None = None
        self.reads = 0
        self.current = SECTION
        self.all_courses = [CourseSummary(one, f"CS {one}", f"Course {one}", "CS") for one in range(101, 108)]

    def _read(self) -> None:
        self.reads += 1
        if self.error is not None:
            raise self.error

    async def semesters(self) -> Sequence[Semester]:
        self._read()
        return [Semester(3, "2026F", "Fall 2026", True, AT, None), Semester(2, "2026S", "Spring", False, None, None)]

    async def courses(
        self, *, semester_id: int | None, department: str | None, text: str | None, after_code: str | None, limit: int
    ) -> Sequence[CourseSummary]:
        self._read()
        if semester_id == 2 or (department or "CS").upper() != "CS":
            return []
        found = [one for one in self.all_courses if after_code is None or one.code > after_code]
        return [one for one in found if (text or "") in one.title][:limit]

    async def has_department(self, code: str) -> bool:
        self._read()
        return code.upper() == "CS"

    async def course(self, course_id: int) -> Course | None:
        self._read()
        if course_id != 5:
            return None
        requisites = (Requisite(4, "CS 100", "prerequisite", 20),)
        return Course(5, "CS 101", "Programming", "Learn it.", "CS", "Computer Science", requisites)

    async def sections_of_course(self, course_id: int, semester_id: int | None) -> Sequence[SectionView] | None:
        self._read()
        if course_id != 5:
            return None
        return [self.current] if semester_id in {None, 3} else []

    async def section(self, section_id: int) -> SectionView | None:
        self._read()
        return self.current if section_id == 7 else None


class FakeEnrollments:
    """Enrolments by id, and positions by id."""

    def __init__(self) -> None:
        self.all: dict[int, EnrollmentView] = {}
        self.position_of: dict[int, int] = {}
        self.find_takes_s = 0.0

    def add(self, *views: EnrollmentView) -> None:
        self.all.update((view.id, view) for view in views)

    async def find(self, enrollment_id: int) -> EnrollmentView | None:
        await asyncio.sleep(self.find_takes_s)
        return self.all.get(enrollment_id)

    async def held_by(self, student_id: int) -> Sequence[EnrollmentView]:
        return [one for one in self.all.values() if one.student_id == student_id and one.status != "dropped"]

    async def positions(self, enrollment_ids: Sequence[int]) -> Mapping[int, int]:
        return {one: self.position_of[one] for one in enrollment_ids if one in self.position_of}

    async def schedule(self, student_id: int, semester_id: int | None) -> Sequence[ScheduledSection]:
        friday = RoomedMeeting(4, 8 * 60, 9 * 60, 1, None)
        early = RoomedMeeting(0, 8 * 60, 9 * 60, 1, None)
        return [
            ScheduledSection(7, "2026F", "CS 101", "Programming", "A01", "LE", (MONDAY_NINE, friday)),
            ScheduledSection(8, "2026F", "CS 102", "Data", "A01", "LE", (early,)),
            ScheduledSection(9, "2026F", "CS 199", "Thesis", "001", "IN", ()),
        ]


class FakeRosters:
    """One section, taught by the one teacher."""

    async def teacher_user_id(self, section_id: int) -> int | None:
        return TEACHER.user_id

    async def roster(self, section_id: int) -> Roster | None:
        if section_id != 7:
            return None
        return Roster(7, (RosterEntry(100, 1, "S001", "Ada", None),), (RosterEntry(101, 2, "S002", "Bob", 1),))


class FakeExports:
    """Keeps what it was given; ``error``, if set, is raised instead."""

    def __init__(self) -> None:
        self.kept: list[tuple[Roster, int, bool]] = []
        self.error: Exception | None = None

    async def put(self, roster: Roster, *, user_id: int, with_bom: bool) -> ExportLink:
        if self.error is not None:
            raise self.error
        self.kept.append((roster, user_id, with_bom))
        return ExportLink(f"/api/roster-exports/{len(self.kept)}", AT)

    async def get(self, export_id: int, user_id: int) -> bytes | None:
        if export_id > len(self.kept) or self.kept[export_id - 1][1] != user_id:
            return None
        return b"a,b\r\n"


class FakeAccounts:
    """Accounts by id."""

    def __init__(self) -> None:
        self.all = {one.user_id: one for one in (STUDENT, OTHER_STUDENT, TEACHER, OTHER_TEACHER, ADMIN)}

    def change(self, user_id: int, *, password_hash: str | None = None, is_disabled: bool = False) -> None:
        self.all[user_id] = replace(self.all[user_id], password_hash=password_hash, is_disabled=is_disabled)

    async def by_email(self, email: str) -> Account | None:
        return next((one for one in self.all.values() if one.email == email), None)

    async def by_id(self, user_id: int) -> Account | None:
        return self.all.get(user_id)

    async def slowest_bcrypt_cost(self) -> int | None:
        hashes = [one.password_hash or "" for one in self.all.values()]
        return max((int(one[4:6]) for one in hashes if one.startswith("$2")), default=None)

    async def replace_password_hash(self, user_id: int, old_hash: str, new_hash: str) -> None:
        assert self.all[user_id].password_hash == old_hash
        self.change(user_id, password_hash=new_hash)


class FakeTokens:
    """Refresh tokens by hash, without families: the real rules are tested against Postgres."""

    def __init__(self, accounts: FakeAccounts) -> None:
        self._accounts = accounts
        self.users: dict[bytes, int] = {}
        self.refuse_with = RefusedRefresh.UNKNOWN

    async def open_family(self, user_id: int, token_hash: bytes, expires_at: datetime) -> None:
        self.users[token_hash] = user_id

    async def rotate(self, token_hash: bytes, new_hash: bytes, expires_at: datetime) -> Account | RefusedRefresh:
        user_id = self.users.pop(token_hash, None)
        if user_id is None:
            return self.refuse_with
        self.users[new_hash] = user_id
        return self._accounts.all[user_id]

    async def revoke_family(self, token_hash: bytes) -> None:
        self.users.pop(token_hash, None)

    async def owner_of(self, token_hash: bytes) -> int | None:
        return 11


class FakeAudit:
    """Entries as they came."""

    def __init__(self) -> None:
        self.entries: list[tuple[int, str, str]] = []
        self.error: Exception | None = None
        self.takes_s = 0.0

    async def record(self, user_id: int, action: str, subject: str, request_id: str) -> None:
        await asyncio.sleep(self.takes_s)
        if self.error is not None:
            raise self.error
        self.entries.append((user_id, action, subject))


class FakeCache:
    """Caches for ever."""

    def __init__(self) -> None:
        self.values: dict[str, tuple[float, bytes]] = {}

    async def get_or_load(
        self, key: str, ttl_s: float, load: Callable[[], Awaitable[bytes]], decode: Callable[[bytes], T]
    ) -> T:
        if key not in self.values:
            self.values[key] = (ttl_s, await load())
        return decode(self.values[key][1])


class FakeLimiter:
    """Refuses the keys that contain ``refuse``."""

    def __init__(self) -> None:
        self.hits: list[tuple[str, float, int]] = []
        self.refuse: str | None = None

    async def peek(self, key: str, rate_per_s: float, burst: int) -> float | None:
        return 6.2 if self.refuse is not None and self.refuse in key else None

    async def hit(self, key: str, rate_per_s: float, burst: int) -> float | None:
        self.hits.append((key, rate_per_s, burst))
        return 6.2 if self.refuse is not None and self.refuse in key else None


class World:
    """All fakes, and the services that they make."""

    def __init__(self) -> None:
        self.gateway = FakeGateway()
        self.catalogue = FakeCatalogue()
        self.enrollments = FakeEnrollments()
        self.rosters = FakeRosters()
        self.exports: FakeExports | None = FakeExports()
        self.accounts = FakeAccounts()
        self.tokens = FakeTokens(self.accounts)
        self.audit = FakeAudit()
        self.cache = FakeCache()
        self.board = FakeBoard(self.catalogue)
        self.limiter = FakeLimiter()
        self.away: set[str] = set()
        self.actor_stats: list[dict[str, object]] = []

    def services(self, config: ApiConfig) -> Services:
        return Services(
            config=config,
            gateway=self.gateway,
            catalogue=self.catalogue,
            enrollments=self.enrollments,
            rosters=self.rosters,
            accounts=self.accounts,
            refresh_tokens=self.tokens,
            audit=self.audit,
            seats=self.board,
            cache=self.cache,
            rate_limiter=self.limiter,
            collect_actor_stats=self._collect,
            probes={name: self._probe(name) for name in ("postgres", "redis", "actors")},
            exports=self.exports,
        )

    def _probe(self, name: str) -> Callable[[], Awaitable[None]]:
        async def probe() -> None:
            if name in self.away:
                raise ConnectionError(name)

        return probe

    async def _collect(self) -> Sequence[Mapping[str, object]]:
        if "actors" in self.away:
            raise ConnectionError("actors")
        return self.actor_stats
