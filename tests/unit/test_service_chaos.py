"""Two drain loops, random students, and a store that fails at random: nothing acknowledged may be lost or doubled."""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import AsyncIterator

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from allocator.commands import ChangeCapacity, Command, Drop, Enroll
from allocator.outcomes import Code, Outcome
from allocator.ports import Changes, CommitUnknownError, StoreBusyError, StoreUnavailableError, Turn
from allocator.section import Section, SectionState
from allocator.service import SectionService
from persistence.memory_store import MemoryStore
from tests.running import make_service, running
from tests.worlds import MemoryWorld, monday

SECTIONS, STUDENTS, STEPS = 4, 10, 12


class FaultyTurn:
    """A turn whose commit sometimes fails, before or after it happened."""

    def __init__(self, turn: Turn, chance: random.Random) -> None:
        self._turn = turn
        self._chance = chance
        self.lock_records = turn.lock_records
        self.answers = turn.answers
        self.enrollments = turn.enrollments

    async def commit(self, changes: Changes) -> None:
        await asyncio.sleep(0)
        match self._chance.randrange(12):
            case 0:
                raise CommitUnknownError("lost before it happened")
            case 1:
                await self._turn.commit(changes)
                raise CommitUnknownError("lost after it happened")
            case 2:
                raise StoreUnavailableError("away")
            case 3:
                raise StoreBusyError("in the way")
            case _:
                await self._turn.commit(changes)
                await asyncio.sleep(0)


class FaultyStore(MemoryStore):
    """A store whose turns are faulty."""

    def __init__(self, world: MemoryWorld, chance: random.Random) -> None:
        super().__init__(world.database)
        self._chance = chance

    @contextlib.asynccontextmanager
    async def turn(self) -> AsyncIterator[Turn]:
        async with super().turn() as turn:
            yield FaultyTurn(turn, self._chance)


async def client(student: int, services: list[SectionService], chance: random.Random, log: list[Outcome]) -> None:
    """One student who enrols, drops, and repeats what got no answer under the same key, at either service."""
    held: dict[int, int] = {}
    for step in range(STEPS):
        section_id = chance.randint(1, SECTIONS)
        key = f"{student}-{step}"
        command: Command
        if chance.random() < 0.3 and section_id in held:
            command = Drop(section_id, student, held.pop(section_id), key, True, True)
        elif student == 1 and chance.random() < 0.3:
            command = ChangeCapacity(section_id, chance.randint(0, 4), 1)
        else:
            command = Enroll(section_id, student, chance.random() < 0.8, key, True, True)
        while True:
            outcome = (await chance.choice(services).submit([(command, 2.0)]))[0]
            if outcome.code not in {Code.UNKNOWN, Code.UNAVAILABLE, Code.MOVED, Code.OVERLOADED}:
                break
        log.append(outcome)
        if outcome.enrollment_id is not None and outcome.code in {Code.ENROLLED, Code.WAITLISTED}:
            held[section_id] = outcome.enrollment_id


async def play(seed: int) -> tuple[MemoryWorld, list[SectionService], list[Outcome]]:
    """A run: everything random comes from the seed, but for the order in which the event loop wakes tasks."""
    chance = random.Random(seed)
    world = MemoryWorld()
    for n in range(SECTIONS):
        await world.add_section(chance.randint(0, 3), credit_count=3, meetings=monday(9 + n // 2))
    for _ in range(STUDENTS):
        await world.add_student(credit_limit=chance.choice([3, 6, 9]))
    services = [make_service(FaultyStore(world, chance), name, backoff_max_s=0.001) for name in ("one", "two")]
    log: list[Outcome] = []
    async with running(services[0]), running(services[1]):
        await asyncio.gather(*(client(one, services, chance, log) for one in range(1, STUDENTS + 1)))
        await asyncio.sleep(0.12)  # blocked heads are looked at again, free seats find their takers
    return world, services, log


@given(seed=st.integers(0, 2**32))
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_what_was_acknowledged_is_there_once(seed: int) -> None:
    world, _services, log = asyncio.run(play(seed))
    rows = world.database.enrollments
    for outcome in log:
        if outcome.code in {Code.ENROLLED, Code.WAITLISTED}:
            assert outcome.enrollment_id in rows, f"lost: {outcome}"
        elif outcome.code is Code.DROPPED and outcome.enrollment_id is not None:
            assert rows[outcome.enrollment_id].status == "dropped", f"not dropped: {outcome}"
    for section_id, seats in world.database.seats.items():
        assert seats.enrolled == len(world.database.active(section_id, "enrolled"))
        assert seats.enrolled <= seats.capacity + seats.over_capacity
        assert seats.waitlisted == len(world.database.active(section_id, "waitlisted"))
        replayed = Section(SectionState(section_id, 1, 0, 0, 0, True, 0, ()))
        for (_, _), (event, _) in sorted(kv for kv in world.database.history.items() if kv[0][0] == section_id):
            replayed.apply(event)
        assert (replayed.seq, replayed.capacity, replayed.enrolled) == (seats.seq, seats.capacity, seats.enrolled)
    for key, record in world.database.records.items():
        mine = [row for row in rows.values() if row.student_id == key.student_id]
        assert sorted(record.enrolled) == sorted(r.section_id for r in mine if r.status == "enrolled")
        assert sorted(record.waitlisted) == sorted(r.section_id for r in mine if r.status == "waitlisted")
        assert record.credits == sum(r.credits for r in mine if r.status == "enrolled") <= record.credit_limit
        slots = [(section_id - 1) // 2 for section_id in record.enrolled]
        assert len(slots) == len(set(slots)), "two sections at one time"


@given(seed=st.integers(0, 2**32))
@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_once_quiet_memory_equals_the_store_and_nobody_waits_for_a_free_seat(seed: int) -> None:
    world, services, _ = asyncio.run(play(seed))
    for service in services:
        for state in service.snapshot():
            row = world.database.seats[state.section_id]
            if row.epoch == state.epoch:
                assert (state.seq, state.capacity, state.enrolled) == (row.seq, row.capacity, row.enrolled)
                assert len(state.waiting) == row.waitlisted
                if state.capacity > state.enrolled:
                    assert all(one.blocked_at is not None for one in state.waiting)
