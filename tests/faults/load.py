"""A registration day: students who enrol and drop, an administrator who changes capacities, and a log of what they saw.

Every request that gets no definite answer is sent again under its key until it gets one.
"""

from __future__ import annotations

import asyncio
import itertools
import random
import time
from collections import Counter
from dataclasses import dataclass, field
from typing import NamedTuple

import aiohttp

from allocator.model.commands import ChangeCapacity, Drop, Enroll
from allocator.model.outcomes import Code, Outcome, Reason, ReasonCode
from allocator.model.read_models import Role
from tests.acceptance.seatline import Answer, Client
from tests.linearizability.history import Recorder

REQUEST_TIMEOUT_S = 15.0
"""Far above the deadline of five seconds within which every request must be answered."""

RETRY_PAUSE_S = 0.1
HELD_MAX = 6
CAPACITY_MIN, CAPACITY_MAX = 5, 40
LOST = (aiohttp.ClientError, OSError, TimeoutError)

_keys = itertools.count(1)


class Served(NamedTuple):
    """A definite answer: when it was asked for the first time, when it came, about which section."""

    asked_at: float
    answered_at: float
    section_id: int


@dataclass
class Counts:
    """The answers that clients got.

    Args:
        requests: requests sent, retries included.
        acknowledged: operations with a definite answer.
        unknown: operations that never got one.
        by_code: answers that were not definite, and lost ones, by code.
        odd: answers that no client should ever get.
        late: answers that took longer than their deadline allows: seconds, and the request.
    """

    requests: int = 0
    acknowledged: int = 0
    unknown: int = 0
    by_code: Counter[str] = field(default_factory=Counter)
    odd: list[str] = field(default_factory=list)
    late: list[tuple[float, str]] = field(default_factory=list)


class Student:
    """What a student believes to hold: sections by enrolment."""

    def __init__(self, student_id: int) -> None:
        self.student_id = student_id
        self.held: dict[int, int] = {}


class Load:
    """Steady load on a list of sections, which may be replaced while it runs.

    Args:
        client: sends the requests.
        students, sections: ids.
        admin_id: the user who changes capacities.
        seed: decides who asks for what, in which order.
        workers: requests under way at a time.
        pause_s: how long a worker rests after each operation.
        deadline_s: how long an answer may take; None if the fault excuses later ones.
    """

    def __init__(
        self,
        client: Client,
        students: list[int],
        sections: list[int],
        admin_id: int,
        *,
        seed: int,
        workers: int = 16,
        pause_s: float = 0.05,
        deadline_s: float | None = 6.0,
    ) -> None:
        self.sections = sections
        self.recorder = Recorder()
        self.counts = Counts()
        self.served: list[Served] = []
        self._client = client
        self._idle = [Student(one) for one in students]
        self._admin_token = client.staff_token(admin_id, Role.ADMIN)
        self._admin_id = admin_id
        self._random = random.Random(seed)
        self._workers = workers
        self._pause_s = pause_s
        self._deadline_s = deadline_s
        self._stopping = False
        self._give_up_at = float("inf")
        self._running: list[asyncio.Task[None]] = []

    def start(self) -> None:
        """Begin."""
        work = [self._work() for _ in range(self._workers)]
        self._running = [asyncio.create_task(one) for one in (*work, self._change_capacities())]

    async def stop(self, patience_s: float = 30.0) -> None:
        """Send nothing new, and wait until all that was sent has its answer or ``patience_s`` have passed."""
        self._stopping = True
        self._give_up_at = time.monotonic() + patience_s
        await asyncio.gather(*self._running)

    def enroll(self, student_id: int, section_id: int) -> asyncio.Task[None]:
        """One enrolment of a student who is not among the others; done once it has its definite answer."""
        asking = asyncio.create_task(self._enroll(Student(student_id), section_id))
        self._running.append(asking)
        return asking

    async def _work(self) -> None:
        while not self._stopping:
            student = self._idle.pop(self._random.randrange(len(self._idle)))
            await self._one_step_of(student)
            self._idle.append(student)
            await asyncio.sleep(self._pause_s * self._random.uniform(0.5, 1.5))

    async def _one_step_of(self, student: Student) -> None:
        if student.held and self._random.random() < len(student.held) / HELD_MAX:
            enrollment_id = self._random.choice(list(student.held))
            await self._drop(student, enrollment_id)
        else:
            wanted = [one for one in self.sections if one not in student.held.values()]
            if wanted:
                await self._enroll(student, self._random.choice(wanted))

    async def _enroll(self, student: Student, section_id: int) -> None:
        key = f"load-{next(_keys)}"
        join_waitlist = self._random.random() < 0.8
        command = Enroll(section_id, student.student_id, join_waitlist)
        body = {"section_id": section_id, "join_waitlist": join_waitlist}
        call, asked_at = self.recorder.invoke(f"student {student.student_id}", command), time.monotonic()
        answer = await self._until_definite(
            "POST", "/api/enrollments", self._client.token(student.student_id), body, key
        )
        if answer is None:
            self.recorder.unknown(call)
            return
        outcome = _outcome(section_id, answer)
        if outcome.enrollment_id is not None:
            student.held[outcome.enrollment_id] = section_id
        self._served(call, outcome, asked_at)

    async def _drop(self, student: Student, enrollment_id: int) -> None:
        key = f"load-{next(_keys)}"
        section_id = student.held.pop(enrollment_id)
        command = Drop(section_id, student.student_id, enrollment_id)
        call, asked_at = self.recorder.invoke(f"student {student.student_id}", command), time.monotonic()
        answer = await self._until_definite(
            "DELETE", f"/api/enrollments/{enrollment_id}", self._client.token(student.student_id), None, key
        )
        if answer is None:
            self.recorder.unknown(call)
        else:
            self._served(call, _outcome(section_id, answer), asked_at)

    async def _change_capacities(self) -> None:
        while not self._stopping:
            section_id = self._random.choice(self.sections)
            seats = self._random.randint(CAPACITY_MIN, CAPACITY_MAX)
            call = self.recorder.invoke("admin", ChangeCapacity(section_id, seats, self._admin_id))
            asked_at = time.monotonic()
            path = f"/api/admin/sections/{section_id}"
            answer = await self._until_definite("PATCH", path, self._admin_token, {"capacity": seats}, None)
            if answer is None:
                self.recorder.unknown(call)
            else:
                self._served(call, Outcome(Code.CHANGED, section_id), asked_at)
            await asyncio.sleep(self._random.uniform(0.1, 0.4))

    def _served(self, call: int, outcome: Outcome, asked_at: float) -> None:
        self.recorder.ok(call, outcome)
        self.counts.acknowledged += 1
        self.served.append(Served(asked_at, time.monotonic(), outcome.section_id))

    async def _until_definite(self, method: str, path: str, token: str, body: object, key: str | None) -> Answer | None:
        """The definite answer to a request that is sent until there is one; None if the time was over first."""
        headers = {} if key is None else {"Idempotency-Key": key}
        while True:
            answer = await self._send(method, path, token, body, headers)
            if answer is not None and answer.status in {200, 201, 409}:
                return answer
            if time.monotonic() > self._give_up_at:
                self.counts.unknown += 1
                return None
            await asyncio.sleep(RETRY_PAUSE_S)

    async def _send(self, method: str, path: str, token: str, body: object, headers: dict[str, str]) -> Answer | None:
        self.counts.requests += 1
        sent_at = time.monotonic()
        try:
            async with asyncio.timeout(REQUEST_TIMEOUT_S):
                answer = await self._client.request(method, path, token, body, **headers)
        except LOST as error:
            self.counts.by_code[f"no answer: {type(error).__name__}"] += 1
            return None
        took_s = time.monotonic() - sent_at
        if self._deadline_s is not None and took_s > self._deadline_s:
            self.counts.late.append((took_s, f"{method} {path}: {answer.status} {answer.body}"))
        if answer.status in {429, 503}:
            self.counts.by_code[answer.body["code"]] += 1
            if "Retry-After" not in answer.headers:
                self.counts.odd.append(f"{answer.status} {answer.body} without Retry-After")
        elif answer.status not in {200, 201, 409}:
            self.counts.odd.append(f"{method} {path}: {answer.status} {answer.body}")
        return answer


def _outcome(section_id: int, answer: Answer) -> Outcome:
    """What the answer says, in the words of the domain."""
    body = answer.body
    if answer.status == 409:
        reasons = tuple(Reason(ReasonCode(one["code"]), one["detail"]) for one in body["reasons"])
        return Outcome(Code.REFUSED, section_id, reasons=reasons)
    if answer.status == 200:
        return Outcome(Code.DROPPED, section_id)
    code = Code(body["status"])
    return Outcome(code, section_id, body["id"], body["place"], body["waitlist_position"])
