"""One run: build the campus of a plan, run clients and faults, undo the faults, and check the result."""

from __future__ import annotations

import asyncio
import dataclasses
import hashlib
import logging
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import partial

from allocator.model.catalogue import Meeting, SectionFacts, Term
from allocator.model.commands import RecheckHead
from allocator.model.delivery import Envelope
from allocator.model.record import RecordKey, RegistrationRecord
from allocator.ports import Changes
from tests.linearizability.checker import check_section, resolved
from tests.linearizability.history import Recorder
from tests.linearizability.model import Seats
from tests.simulation.chaos import Chaos
from tests.simulation.clients import Clients, NoAnswerError
from tests.simulation.cluster import DEADLINE_S, Cluster
from tests.simulation.invariants import Broken, check_commit, check_quiet, final_seats, stored_outcome
from tests.simulation.loop import run_simulated
from tests.simulation.mutations import Mutation, mutated
from tests.simulation.plan import Fault, Plan
from tests.simulation.postgres import SimulatedPostgres
from tests.simulation.redis import SimulatedRedis
from tests.simulation.storm import Storm

SEMESTER_ID = 1
FINISH_S = 120.0
"""After the storm: more than any backlog of these runs takes."""
SETTLE_S = 10.0
LATE_S = 0.2
"""The gateway looks at deadlines every 50 ms."""


@dataclass
class Run:
    """What came of a plan. ``broken`` is None if everything held.

    ``turned_away`` counts the answers to students that decided nothing; ``waited_s`` is the longest wait for an answer.
    """

    plan: Plan
    broken: str | None = None
    operations: int = 0
    commits: int = 0
    simulated_s: float = 0.0
    turned_away: int = 0
    waited_s: float = 0.0
    struck: dict[Fault, int] = field(default_factory=dict)
    trace: list[str] = field(default_factory=list)

    @property
    def digest(self) -> str:
        """Equal for equal runs, to the last step."""
        return hashlib.blake2b("\n".join(self.trace).encode(), digest_size=16).hexdigest()


def simulate(plan: Plan, mutation: Mutation | None = None) -> Run:
    """Carry out a plan."""
    logging.disable(logging.CRITICAL)  # what goes wrong here is meant to
    run = Run(plan)
    try:
        with mutated(mutation):
            run_simulated(_Simulation(run).play())
    except* Exception as errors:  # noqa: BLE001  (whatever it is, it is what the run found)
        run.broken = "; ".join(f"{type(one).__name__}: {one}" for one in _leaves(errors))
    finally:
        logging.disable(logging.NOTSET)
    return run


def _leaves(errors: BaseExceptionGroup[BaseException]) -> Iterator[BaseException]:
    for one in errors.exceptions:
        if isinstance(one, BaseExceptionGroup):
            yield from _leaves(one)
        else:
            yield one


class _Simulation:
    def __init__(self, run: Run) -> None:
        self._run = run
        self._plan = run.plan
        self._recorder = Recorder()

    async def play(self) -> None:
        chaos = Chaos(self._plan)
        self._postgres = postgres = SimulatedPostgres(chaos, self._committed)
        starts = self._populate(chaos)
        cluster = Cluster(chaos, postgres, SimulatedRedis(chaos))
        clients = Clients(chaos, cluster, self._recorder, self._note)
        try:
            await self._live(clients, Storm(chaos, cluster, self._note))
            await self._settle(cluster)
        finally:
            self._run.simulated_s = asyncio.get_running_loop().time()
            self._run.operations = len(clients.asked)
            self._run.struck = chaos.struck
            self._run.turned_away = len(clients.turned_away)
            self._run.waited_s = cluster.waited_s
        self._judge(cluster, clients, starts)

    def _populate(self, chaos: Chaos) -> dict[int, Seats]:
        random, database = chaos.random, self._postgres.database
        starts = {}
        for section_id in range(1, self._plan.sections + 1):
            meets_at = 9 * 60 if self._plan.is_strict else random.choice([9, 9, 10]) * 60
            weekday = section_id if self._plan.is_strict else 0
            facts = SectionFacts(
                section_id,
                section_id,
                "LE",
                3,
                None,
                Term(SEMESTER_ID, None, None),
                (Meeting(weekday, meets_at, meets_at + 60, 1),),
                (),
                (),
            )
            starts[section_id] = Seats(random.randint(0, 4))
            database.add_section(facts, starts[section_id].capacity)
        for student_id in range(1, self._plan.students + 1):
            limit = 1000 if self._plan.is_strict else random.choice([3, 6, 9])
            database.add_record(RegistrationRecord(RecordKey(student_id, SEMESTER_ID), 0, 0, limit, [], []))
        return starts

    async def _live(self, clients: Clients, storm: Storm) -> None:
        try:
            async with asyncio.timeout(self._plan.storm_s + FINISH_S), asyncio.TaskGroup() as everybody:
                everybody.create_task(storm.rage())
                everybody.create_task(clients.registrar())
                for student_id in range(1, self._plan.students + 1):
                    everybody.create_task(clients.student(student_id))
        except TimeoutError as error:
            raise NoAnswerError(f"some clients had no answer {FINISH_S} s after the storm") from error

    async def _settle(self, cluster: Cluster) -> None:
        """All is mended: every section is looked at once more, and then nothing happens any more."""
        await asyncio.sleep(SETTLE_S)
        for section_id in range(1, self._plan.sections + 1):
            await cluster.apis[0].gateway.submit(Envelope(RecheckHead(section_id, 1)))
        await asyncio.sleep(SETTLE_S)

    def _judge(self, cluster: Cluster, clients: Clients, starts: dict[int, Seats]) -> None:
        database = self._postgres.database
        if clients.broken_promises:
            raise Broken("I7: " + "; ".join(clients.broken_promises))
        if cluster.waited_s > DEADLINE_S + LATE_S:
            raise Broken(f"I12: a request waited {cluster.waited_s:.2f} s")
        memory = [state for service in cluster.living_services() for state in service.snapshot()]
        check_quiet(database, memory, clients.asked)
        for section_id, operations in self._recorder.by_section().items():
            final = final_seats(database, section_id)
            known = resolved(operations, partial(stored_outcome, database))
            verdict = check_section(known, starts[section_id], final, is_strict=self._plan.is_strict)
            if not verdict.holds:
                raise Broken(f"section {section_id} is {verdict.explain()}\nat the end: {final}")

    def _committed(self, changes: Changes) -> None:
        self._run.commits += 1
        self._note(f"commit: {changes}")
        check_commit(self._postgres.database, changes)

    def _note(self, text: str) -> None:
        self._run.trace.append(f"{asyncio.get_running_loop().time():9.4f}  {text}")


def shrink(plan: Plan, mutation: Mutation | None = None) -> Run:
    """The smallest plan found that still fails, by leaving out one thing after the other."""
    smallest = simulate(plan, mutation)
    found = True
    while found:
        found = False
        for smaller in _smaller(smallest.plan):
            run = simulate(smaller, mutation)
            if run.broken is not None:
                smallest, found = run, True
                break
    return smallest


def _smaller(plan: Plan) -> Iterator[Plan]:
    for fault in plan.faults:
        yield dataclasses.replace(plan, faults=tuple(one for one in plan.faults if one is not fault))
    for name, least in (("students", 1), ("steps", 1), ("sections", 1), ("actors", 1), ("apis", 1)):
        size = getattr(plan, name)
        for less in {size // 2, size - 1}:
            if least <= less < size:
                yield dataclasses.replace(plan, **{name: less})
    if plan.storm_s > 1.0:
        yield dataclasses.replace(plan, storm_s=plan.storm_s / 2)
