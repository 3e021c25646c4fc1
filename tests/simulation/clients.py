"""Students and the registrar: their requests and retries, and the answers that they got."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from functools import partial

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
from allocator.model.outcomes import Code, Outcome
from tests.linearizability.history import Recorder
from tests.simulation.chaos import Chaos
from tests.simulation.cluster import Cluster
from tests.simulation.process import ProcessDiedError
from tests.simulation.storm import Trace

NO_EFFECT = frozenset({Code.OVERLOADED, Code.UNAVAILABLE})
TRANSIENT = NO_EFFECT | {Code.UNKNOWN}
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
        self.turned_away: list[Outcome] = []
        self.broken_promises: list[str] = []

    async def student(self, student_id: int) -> None:
        """One student: a step after the other, some of them several sections at once."""
        held: dict[int, int] = {}
        random = self._chaos.random
        for _ in range(self._chaos.plan.steps):
            await asyncio.sleep(random.expovariate(1.0))
            count = random.choice([1, 1, 1, 2, 3])
            commands = [self._choose(student_id, held) for _ in range(count)]
            await asyncio.gather(*(self._have_decided(command, held) for command in commands))

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

    def _choose(self, student_id: int, held: dict[int, int]) -> StudentCommand:
        random = self._chaos.random
        self._keys += 1
        key = f"{student_id}-{self._keys}"
        has_own_key = random.random() < 0.9
        if held and random.random() < 0.35:
            section_id = random.choice(sorted(held))
            return Drop(section_id, student_id, held[section_id], key, has_own_key, has_own_key)
        section_id = random.randint(1, self._chaos.plan.sections)
        return Enroll(section_id, student_id, random.random() < 0.8, key, has_own_key, has_own_key)

    async def _have_decided(self, command: StudentCommand, held: dict[int, int]) -> None:
        """Ask until there is a definite answer, or give up; later, ask once more under the same key."""
        outcome = await self._ask(command, f"student {command.student_id}")
        if outcome is None:
            return
        if outcome.code in {Code.ENROLLED, Code.WAITLISTED} and outcome.enrollment_id is not None:
            held[command.section_id] = outcome.enrollment_id
        elif isinstance(command, Drop) and held.get(command.section_id) == command.enrollment_id:
            del held[command.section_id]
        if command.keep_answer and self._chaos.random.random() < 0.25:
            await asyncio.sleep(self._chaos.random.expovariate(1.0))
            await self._ask_again(command, outcome)

    async def _ask(self, command: Command, who: str) -> Outcome | None:
        random = self._chaos.random
        call = self._recorder.invoke(who, command)
        self.asked.append(command)
        can_repeat = isinstance(command, Enroll | Drop) and command.keep_answer
        in_doubt = False
        for _ in range(MOST_TRIES):
            outcome = await self._send(command, who)
            if outcome is not None and outcome.code not in TRANSIENT:
                self._recorder.ok(call, outcome)
                return outcome
            in_doubt = in_doubt or outcome is None or outcome.code is Code.UNKNOWN or self._came_twice(command)
            if not can_repeat or (not self._chaos.is_over and random.random() < 0.1):
                if in_doubt:
                    self._recorder.unknown(call)
                else:
                    self._recorder.failed(call)
                return None
            await asyncio.sleep(random.uniform(0.05, 1.0))
        raise NoAnswerError(f"{who} got no answer to {command} in {MOST_TRIES} tries")

    def _came_twice(self, command: Command) -> bool:
        return isinstance(command, Enroll | Drop) and command.key in self._cluster.doubled

    async def _ask_again(self, command: StudentCommand, first: Outcome) -> None:
        """A repeat under the same key has the same answer, whoever is asked."""
        for _ in range(MOST_TRIES):
            outcome = await self._send(command, f"student {command.student_id} again")
            if outcome is not None and outcome.code not in TRANSIENT:
                if outcome._replace(replayed=False) != first._replace(replayed=False):
                    self.broken_promises.append(f"{command} was answered {first}, and then {outcome}")
                return
            await asyncio.sleep(self._chaos.random.uniform(0.05, 1.0))
        raise NoAnswerError(f"no answer to the repeat of {command}")

    async def _insist(self, make: Callable[[int], StaffCommand]) -> None:
        """Staff's commands have no key: each try is an operation of its own, here under a user of its own.

        So the history tells which of them had an effect.
        """
        for _ in range(MOST_TRIES):
            self._staff += 1
            if await self._ask(make(self._staff), "registrar") is not None:
                return
            await asyncio.sleep(self._chaos.random.uniform(0.05, 1.0))
        raise NoAnswerError("no answer to the registrar")

    async def _send(self, command: Command, who: str) -> Outcome | None:
        """One try. None if no answer came."""
        api = self._chaos.random.choice(self._cluster.apis)
        self._trace(f"{who} asks {api.process.name}: {command}")
        try:
            outcome: Outcome | None = await api.request(command)
        except ProcessDiedError:
            outcome = None
        self._trace(f"{who} hears of {command}: {outcome}")
        if outcome is not None and outcome.code in TRANSIENT and isinstance(command, Enroll | Drop):
            self.turned_away.append(outcome)
        return outcome
