"""The workloads, and their requests as bytes: the same bytes for every contestant."""

from __future__ import annotations

import random
import uuid
from collections import Counter, deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import NamedTuple

import orjson

from bench.contestants.contestant import same_host
from bench.demand.bench_term import SEMESTER, BenchTerm, TokenBook
from bench.demand.draw import Ask, Demand, pairs_of
from cluster.clients.http import post

HOST = same_host(0).authority
ENROLLMENTS = "/api/enrollments"
READS_PER_WRITE = 9
CHURN_SEATS = 25
CHURN_STUDENTS = 40
"""Per section: more than its seats, so that there is always a waitlist."""


class Workload(NamedTuple):
    """A kind of load.

    Args:
        name: as in results.
        title: in words.
        needs: what a contestant must support: ``enroll``, ``read``, ``drop``.
        counts: the figure of a round that is compared: enrolments or answers a second.
        skew: of the demand over sections; None for one hot section.
    """

    name: str
    title: str
    needs: frozenset[str] = frozenset({"enroll"})
    counts: str = "enrolled_per_s"
    skew: float | None = 0.0


WORKLOADS = {
    one.name: one
    for one in (
        Workload("uniform", "all sections alike"),
        Workload("zipf_0.99", "Zipf 0.99", skew=0.99),
        Workload("zipf_1.5", "Zipf 1.5", skew=1.5),
        Workload("zipf_2.0", "Zipf 2.0", skew=2.0),
        Workload("hot", "one hot section", skew=None),
        Workload("reads", "reads of sections", frozenset({"read"}), "achieved_per_s"),
        Workload("mixed", "90 % reads, 10 % enrolments", frozenset({"read", "enroll", "drop"}), "achieved_per_s"),
        Workload("churn", "drop and add again, waitlists", frozenset({"drop"}), "achieved_per_s"),
    )
}

WARM_UP = Workload("warm_up", "activates sections and fills caches; not counted")


@dataclass
class DemandPlan:
    """The demand of a whole run, drawn before it: from it follow the capacities and the number of students.

    Args:
        workloads: that are measured.
        rounds: of each workload.
        per_round: requests that the fastest contestant may need in one round.
        sections: how many sections.
        few: how many of them for contestants that cannot serve more.
        seed: of the random choices.
    """

    workloads: Sequence[Workload]
    rounds: int
    per_round: int
    sections: int
    few: int
    seed: int
    many_asks: dict[tuple[str, int], list[Ask]] = field(default_factory=dict)
    few_asks: dict[tuple[str, int], list[Ask]] = field(default_factory=dict)
    students: int = 0

    def __post_init__(self) -> None:
        demand = Demand(self.seed)  # one for both, so that a contestant may get both
        for workload in (WARM_UP, *self.workloads):
            for turn in range(1 if workload is WARM_UP else self.rounds):
                for asks, sections, share in ((self.many_asks, self.sections, 1.0), (self.few_asks, self.few, 0.5)):
                    asks[workload.name, turn] = self._draw(demand, workload, turn, sections, share)
        self.students = demand.students

    def _draw(self, demand: Demand, workload: Workload, turn: int, sections: int, share: float) -> list[Ask]:
        if workload.name in {"reads", "churn"}:
            return []
        count = int(self.per_round * share)
        if workload.name == "mixed":
            count = count // READS_PER_WRITE + 1
        if workload.skew is None:  # another section in each round, of another slot
            return demand.draw([turn % sections], count)
        return demand.draw(range(sections), count, workload.skew)

    @property
    def churn_sections(self) -> list[int]:
        """Indices of the small sections, after those of the others."""
        return list(range(self.sections, self.sections + self.sections // 20 + 1))

    @property
    def churn_students(self) -> int:
        """The number of students of the small sections; their indices follow those of the others."""
        return len(self.churn_sections) * CHURN_STUDENTS

    def capacities(self) -> list[int]:
        """The capacity of every section: as many seats as requests for it; fewer for the small sections."""
        many, few = (
            Counter(ask.section for asks in one.values() for ask in asks) for one in (self.many_asks, self.few_asks)
        )
        seats = [max(many[section] + few[section], 1) for section in range(self.sections)]
        return seats + [CHURN_SEATS] * len(self.churn_sections)


class Requests:
    """Makes the requests of each round of a plan."""

    def __init__(self, plan: DemandPlan, term: BenchTerm, tokens: TokenBook) -> None:
        self._plan = plan
        self._term = term
        self._tokens = tokens

    def prepared(self, workload: Workload, turn: int, *, few: bool = False) -> list[bytes]:
        """The requests of a round, as bytes."""
        plan = self._plan
        if workload.name == "reads":
            return self._reads(plan.per_round, turn)
        asks = (plan.few_asks if few else plan.many_asks)[workload.name, turn]
        run = uuid.UUID(int=random.Random(f"{plan.seed} {workload.name} {turn} {few}").getrandbits(128)).hex[:16]
        writes = [
            self._enroll(student, section, f"{run}-{number}")
            for number, (student, section) in enumerate(pairs_of(asks, plan.students))
        ]
        if workload.name != "mixed":
            return writes
        return self._browsing(writes, turn)

    @cached_property
    def churn(self) -> Churn:
        """The source of the churn workload; one for all rounds, since it knows who holds what."""
        plan = self._plan
        first = plan.students
        holders = [
            (first + number, section)
            for number, section in enumerate(section for section in plan.churn_sections for _ in range(CHURN_STUDENTS))
        ]
        random.Random(plan.seed).shuffle(holders)
        return Churn([(self._tokens.token(student), self._term.section_ids[section]) for student, section in holders])

    def _enroll(self, student: int, section: int, key: str) -> bytes:
        body = b'{"section_id":%d}' % self._term.section_ids[section]
        return post(same_host(0), ENROLLMENTS, self._tokens.token(student), key, body)

    def _reads(self, count: int, turn: int) -> list[bytes]:
        rng = random.Random(self._plan.seed + turn)
        sections = self._term.section_ids[: self._plan.sections]
        made = {section: read(f"/api/sections/{section}") for section in sections}
        return [made[section] for section in rng.choices(sections, k=count)]

    def _browsing(self, writes: list[bytes], turn: int) -> list[bytes]:
        """Nine reads for each write: seven of sections, one page of the catalogue, one of the student's own list."""
        rng = random.Random(self._plan.seed + turn)
        requests = []
        for number, write in enumerate(writes):
            requests.append(write)
            sections = rng.choices(self._term.section_ids[: self._plan.sections], k=READS_PER_WRITE - 2)
            requests += [read(f"/api/sections/{section}") for section in sections]
            requests.append(read(f"/api/courses?semester={SEMESTER.code}&limit=20"))
            token = self._tokens.token(number % self._plan.students)
            requests.append(read("/api/enrollments/my", token))
        return requests


def read(path: str, token: str | None = None) -> bytes:
    """A GET request as bytes."""
    bearer = f"Authorization: Bearer {token}\r\n" if token else ""
    return f"GET {path} HTTP/1.1\r\nHost: {HOST}\r\n{bearer}\r\n".encode("ascii")


def delete(path: str, token: str, key: str) -> bytes:
    """A DELETE request as bytes."""
    return (
        f"DELETE {path} HTTP/1.1\r\nHost: {HOST}\r\nAuthorization: Bearer {token}\r\nIdempotency-Key: {key}\r\n\r\n"
    ).encode("ascii")


class Churn:
    """A source of requests of students who each add a section, drop it, add it again, and so on.

    Args:
        students: token and section id of each.
    """

    exhausted = False

    def __init__(self, students: Sequence[tuple[str, int]]) -> None:
        self._students = students
        self._run = uuid.uuid4().hex[:12]
        self._sent = 0
        self._held: dict[int, int] = {}
        self._resting = deque(range(len(students)))

    def take(self) -> tuple[int, bytes] | None:
        """See ``bench.load.sources.Source``."""
        if not self._resting:
            return None
        student = self._resting.popleft()
        token, section_id = self._students[student]
        self._sent += 1
        key = f"{self._run}-{self._sent}"
        held = self._held.pop(student, None)
        if held is None:
            body = b'{"section_id":%d}' % section_id
            return student, post(same_host(0), ENROLLMENTS, token, key, body)
        return student, delete(f"{ENROLLMENTS}/{held}", token, key)

    def answered(self, number: int, status: int, body: bytes) -> None:
        """See ``bench.load.sources.Source``."""
        if status == 201:
            self._held[number] = orjson.loads(body)["id"]
        self._resting.append(number)
