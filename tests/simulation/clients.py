"""Students and the registrar: their requests and retries, and the answers that they got."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from functools import partial
from typing import cast

from allocator.model.commands import (
    ChangeCapacity,
    CloseSection,
    Command,
    Drop,
    Enroll,
    OpenSection,
    StaffCommand,
    StudentCommand,
)
from allocator.model.delivery import Envelope, Reply, Undecided
from allocator.model.outcomes import Code, Outcome
from tests.linearizability.history import Recorder
from tests.simulation.chaos import Chaos
from tests.simulation.cluster import Cluster
from tests.simulation.process import ProcessDiedError
from tests.simulation.storm import Trace

MOST_TRIES = 60
"""More than any outage of a run needs: whoever gets no answer after so many will never get one."""


class NoAnswerError(AssertionError):
    """A client asked again and again, long after everything was mended."""


class Clients:
    """All who send requests, at random API processes.

    Attributes:
        definite: the first definite answer by (student, key), for those who ask again later.
        asked: every command that was ever sent.
        turned_away: what students heard that was no definite answer.
    """

    def __init__(self, chaos: Chaos, cluster: Cluster, recorder: Recorder, trace: Trace) -> None:
        self._chaos = chaos
        self._cluster = cluster
        self._recorder = recorder
        self._trace = trace
        self._keys = 0
        self._staff = 0
        self.asked: list[Command] = []
        self.turned_away: list[Reply] = []
        self.broken_promises: list[str] = []

    async def student(self, student_id: int) -> None:
        """One student: a step after the other, some of them several sections at once."""
        held: dict[int, int] = {}
        random = self._chaos.random
        for _ in range(self._chaos.plan.steps):
            await asyncio.sleep(random.expovariate(1.0))
            count = random.choice([1, 1, 1, 2, 3])
            wanted = [self._choose(student_id, held) for _ in range(count)]
            await asyncio.gather(*(self._have_decided(envelope, held) for envelope in wanted))

    async def registrar(self) -> None:
        """Raises, cuts, closings and openings; every closed section is opened again."""
        random = self._chaos.random
        for _ in range(self._chaos.plan.steps):
            await asyncio.sleep(random.expovariate(0.7))
            section_id = random.randint(1, self._chaos.plan.sections)
            if random.random() < 0.8:
                await self._insist(partial(ChangeCapacity, section_id, random.randint(0, 5)))
            else:
                await self._insist(partial(CloseSection, section_id))
                await asyncio.sleep(random.expovariate(1.0))
                await self._insist(partial(OpenSection, section_id))

    def _choose(self, student_id: int, held: dict[int, int]) -> Envelope:
        random = self._chaos.random
        self._keys += 1
        key = f"{student_id}-{self._keys}"
        has_own_key = random.random() < 0.9
        if held and random.random() < 0.35:
            section_id = random.choice(sorted(held))
            return Envelope(Drop(section_id, student_id, held[section_id]), key, has_own_key, has_own_key)
        section_id = random.randint(1, self._chaos.plan.sections)
        return Envelope(Enroll(section_id, student_id, random.random() < 0.8), key, has_own_key, has_own_key)

    async def _have_decided(self, envelope: Envelope, held: dict[int, int]) -> None:
        """Ask until there is a definite answer, or give up; later, ask once more under the same key."""
        command = cast(StudentCommand, envelope.command)
        outcome = await self._ask(envelope, f"student {command.student_id}")
        if outcome is None:
            return
        if outcome.code in {Code.ENROLLED, Code.WAITLISTED} and outcome.enrollment_id is not None:
            held[command.section_id] = outcome.enrollment_id
        elif isinstance(command, Drop) and held.get(command.section_id) == command.enrollment_id:
            del held[command.section_id]
        if envelope.keep_answer and self._chaos.random.random() < 0.25:
            await asyncio.sleep(self._chaos.random.expovariate(1.0))
            await self._ask_again(envelope, outcome)

    async def _ask(self, envelope: Envelope, who: str) -> Outcome | None:
        random = self._chaos.random
        call = self._recorder.invoke(who, envelope.command, envelope.key)
        self.asked.append(envelope.command)
        in_doubt = False
        for _ in range(MOST_TRIES):
            reply = await self._send(envelope, who)
            if reply is not None and reply.outcome is not None:
                self._recorder.ok(call, reply.outcome)
                return reply.outcome
            is_unknown = reply is None or reply.undecided is Undecided.UNKNOWN
            in_doubt = in_doubt or is_unknown or self._came_twice(envelope)
            if not envelope.keep_answer or (not self._chaos.is_over and random.random() < 0.1):
                if in_doubt:
                    self._recorder.unknown(call)
                else:
                    self._recorder.failed(call)
                return None
            await asyncio.sleep(random.uniform(0.05, 1.0))
        raise NoAnswerError(f"{who} got no answer to {envelope} in {MOST_TRIES} tries")

    def _came_twice(self, envelope: Envelope) -> bool:
        return bool(envelope.key) and envelope.key in self._cluster.doubled

    async def _ask_again(self, envelope: Envelope, first: Outcome) -> None:
        """A repeat under the same key has the same answer, whoever is asked."""
        for _ in range(MOST_TRIES):
            reply = await self._send(envelope, f"student {envelope.command.needs.student_id} again")
            if reply is not None and reply.outcome is not None:
                if reply.outcome != first:
                    self.broken_promises.append(f"{envelope} was answered {first}, and then {reply.outcome}")
                return
            await asyncio.sleep(self._chaos.random.uniform(0.05, 1.0))
        raise NoAnswerError(f"no answer to the repeat of {envelope}")

    async def _insist(self, make: Callable[[int], StaffCommand]) -> None:
        """Staff's commands have no key: each try is an operation of its own, here under a user of its own.

        So the history tells which of them had an effect.
        """
        for _ in range(MOST_TRIES):
            self._staff += 1
            if await self._ask(Envelope(make(self._staff)), "registrar") is not None:
                return
            await asyncio.sleep(self._chaos.random.uniform(0.05, 1.0))
        raise NoAnswerError("no answer to the registrar")

    async def _send(self, envelope: Envelope, who: str) -> Reply | None:
        """One try. None if no answer came."""
        api = self._chaos.random.choice(self._cluster.apis)
        self._trace(f"{who} asks {api.process.name}: {envelope}")
        try:
            reply: Reply | None = await api.request(envelope)
        except ProcessDiedError:
            reply = None
        self._trace(f"{who} hears of {envelope}: {reply}")
        if reply is not None and reply.outcome is None and envelope.key:
            self.turned_away.append(reply)
        return reply
