"""Days of real registration: what is imported, who asks for what, and when."""

from __future__ import annotations

import abc
import random
from collections import defaultdict, deque
from collections.abc import Sequence
from pathlib import Path

import asyncpg
import orjson

from api.signin.tokens import AccessTokens
from bench.contestants.contestant import same_host
from bench.demand.bench_term import account_of
from bench.demand.real_demand import Change, course_requests, data_file, open_seats, registration_curve
from bench.demand.workloads import ENROLLMENTS, delete
from bench.load.sources import RetriedRequests
from bench.peers.environment import TOKEN_TTL_S
from cluster.cli.tokens import find_students
from cluster.clients.http import post
from persistence.imports.formats.itc2019 import read_itc2019, read_solution_alone, student_number
from persistence.imports.formats.itc_files import read_solution
from persistence.imports.formats.ucsd import read_ucsd
from persistence.imports.report import no_progress
from persistence.imports.rows import Bundle, PersonRow, RecordRow, StudentRow

CURVE_CREDITS = 99
CURVE_FILES = ("ucsd/sp22_sections.tsv.gz", "ucsd/sp22_seat_changes.csv.gz")


class Ids:
    """Tokens and section ids of a semester in a database."""

    def __init__(self, tokens: dict[str, str], sections: dict[str, int]) -> None:
        self.tokens = tokens
        self.sections = sections

    @classmethod
    async def read(cls, database_url: str, semester: str, jwt_secret: str) -> Ids:
        """Read a semester: tokens by student number, ids by the section's id in its source."""
        issue = AccessTokens(jwt_secret, TOKEN_TTL_S).issue
        connection = await asyncpg.connect(database_url)
        try:
            students = await find_students(connection, semester=semester)
            rows = await connection.fetch(
                """SELECT s.source_key, s.id FROM course_sections s JOIN semesters t ON t.id = s.semester_id
                    WHERE t.code = $1 AND s.source_key IS NOT NULL""",
                semester,
            )
        finally:
            await connection.close()
        return cls({one.number: issue(account_of(one)) for one in students}, dict(map(tuple, rows)))


class Day(abc.ABC):
    """A day of registration.

    Args:
        name: as in results; also the code of its semester.
        files: in the directory of the real data.
        needs: what a contestant must support, see ``Workload``.
    """

    def __init__(self, name: str, files: tuple[str, ...], needs: frozenset[str]) -> None:
        self.name = name
        self.files = files
        self.needs = needs

    @abc.abstractmethod
    def bundle(self) -> Bundle:
        """The rows of the semester."""

    @abc.abstractmethod
    def source(self, ids: Ids, seed: int) -> RetriedRequests:
        """The requests."""

    @abc.abstractmethod
    def arrivals(self, seconds: float) -> list[float] | None:
        """When they are due, with the day compressed to ``seconds``; None for as fast as they are answered."""


def missing_files(day: Day) -> list[str]:
    """The files of a day that are missing."""
    return [name for name in day.files if data_file(name) is None]


class ClassDay(Day):
    """Every student of an ITC file asks for all their classes, in an order shuffled by the seed.

    Args:
        name: of the problem.
        files: an instance and its solution; or a solution alone, which assigns students to classes.
    """

    def __init__(self, name: str, *files: str) -> None:
        super().__init__(name, files, frozenset({"enroll"}))

    def bundle(self) -> Bundle:
        """See ``Day``."""
        paths = [_path(name) for name in self.files]
        return read_itc2019(*paths) if len(paths) == 2 else read_solution_alone(*paths)

    def wishes(self, seed: int) -> list[tuple[str, str]]:
        """Pairs of student and class, by their ids in the file."""
        first = _path(self.files[0])
        if len(self.files) == 2:
            return [(one.student, one.class_id) for one in course_requests(first, seed)]
        classes = read_solution(first, no_progress).classes
        return [(student, key) for key, one in classes.items() for student in one.students]

    def source(self, ids: Ids, seed: int) -> RetriedRequests:
        """See ``Day``."""
        wishes = self.wishes(seed)
        random.Random(seed).shuffle(wishes)
        made = (
            _enroll(ids.tokens[student_number(self.name, student)], ids.sections[key], f"{self.name}-{number}")
            for number, (student, key) in enumerate(wishes)
        )
        return RetriedRequests(deque(enumerate(made)))

    def arrivals(self, seconds: float) -> list[float] | None:
        """See ``Day``."""
        return None


class CurveDay(Day):
    """A pass of registration at UC San Diego in spring 2022: its adds and drops, compressed in time.

    The data has no students, so every add is by a new student, and a drop by a random student of the section.
    Sections begin with the seats that were free when the pass began.
    """

    def __init__(self, which: str) -> None:
        super().__init__(f"ucsd-{which}-pass", CURVE_FILES, frozenset({"enroll", "drop"}))
        self.which = which
        self._changes: list[Change] = []

    def changes(self) -> list[Change]:
        """The adds and drops of sections that are in the catalogue."""
        if not self._changes:
            known = {one.source_key for one in read_ucsd(_path(self.files[0])).sections}
            self._changes = [
                one for one in registration_curve(_path(self.files[1]), self.which) if one.section in known
            ]
        return self._changes

    def bundle(self) -> Bundle:
        """See ``Day``."""
        bundle = read_ucsd(_path(self.files[0]), semester=self.name)
        free = open_seats(_path(self.files[1]), self.which)
        bundle.sections = [
            one._replace(capacity=free.get(one.source_key, one.capacity), is_open=True) for one in bundle.sections
        ]
        for number in range(sum(one.adds for one in self.changes())):
            name = f"{self.name}-{number}"
            bundle.students.append(StudentRow(name, PersonRow(f"{name}@bench.seatline.example", name, "student")))
            bundle.records.append(RecordRow(name, CURVE_CREDITS))
        return bundle

    def source(self, ids: Ids, seed: int) -> RetriedRequests:
        """See ``Day``."""
        return CurveSource(self.changes(), self.name, ids, seed)

    def arrivals(self, seconds: float) -> list[float] | None:
        """See ``Day``."""
        changes = self.changes()
        first, last = changes[0].at_s, changes[-1].at_s
        return [(one.at_s - first) / (last - first) * seconds for one in changes]


class CurveSource(RetriedRequests):
    """A source of adds and drops in order. The enrolment of a drop is chosen when the drop is due."""

    def __init__(self, changes: Sequence[Change], name: str, ids: Ids, seed: int) -> None:
        super().__init__(deque())
        self._changes = deque(changes)
        self._name = name
        self._ids = ids
        self._rng = random.Random(seed)
        self._sent = 0
        self._adds = 0
        self._asked: dict[int, tuple[str, str]] = {}
        self._in: dict[str, list[tuple[str, int]]] = defaultdict(list)
        self.drops_of_nobody = 0

    @property
    def exhausted(self) -> bool:
        """See ``bench.load.sources.Source``."""
        return not self._changes and not self.waiting and not self._under_way

    def take(self) -> tuple[int, bytes] | None:
        """See ``bench.load.sources.Source``."""
        while not self.waiting and self._changes:
            change = self._changes.popleft()
            request = self._add(change.section) if change.adds else self._drop(change.section)
            if request is None:
                self.drops_of_nobody += 1
            else:
                self.waiting.append((self._sent, request))
                self._sent += 1
        return super().take()

    def _add(self, section: str) -> bytes:
        token = self._ids.tokens[f"{self._name}-{self._adds}"]
        self._adds += 1
        self._asked[self._sent] = (token, section)
        return _enroll(token, self._ids.sections[section], f"{self._name}-{self._sent}")

    def _drop(self, section: str) -> bytes | None:
        inside = self._in[section]
        if not inside:
            return None
        token, enrollment_id = inside.pop(self._rng.randrange(len(inside)))
        return delete(f"{ENROLLMENTS}/{enrollment_id}", token, f"{self._name}-{self._sent}")

    def answered(self, number: int, status: int, body: bytes) -> None:
        """See ``bench.load.sources.Source``."""
        super().answered(number, status, body)
        if status == 201:
            token, section = self._asked.pop(number)
            self._in[section].append((token, orjson.loads(body)["id"]))


DAYS: tuple[Day, ...] = (
    ClassDay("pu-llr-spr17", "itc2019/pu-llr-spr17.solution.xml.gz"),
    ClassDay("pu-d5-spr17", "itc2019/pu-d5-spr17.xml.gz", "itc2019/pu-d5-spr17.solution.xml.gz"),
    CurveDay("first"),
    CurveDay("second"),
)


def _path(name: str) -> Path:
    path = data_file(name)
    if path is None:
        raise FileNotFoundError(name)
    return path


def _enroll(token: str, section_id: int, key: str) -> bytes:
    return post(same_host(0), ENROLLMENTS, token, key, b'{"section_id":%d}' % section_id)
