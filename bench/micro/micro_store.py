"""Microbenchmarks of a turn of the drain loop, on the store in memory and on Postgres."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Iterator, Mapping, Sequence

from pytest_benchmark.fixture import BenchmarkFixture

from allocator.model.commands import Enroll
from allocator.model.delivery import Envelope
from allocator.model.outcomes import Code
from allocator.model.record import RecordKey, RegistrationRecord
from allocator.ports import Committed, Store
from allocator.turns.clock import SystemClock
from allocator.turns.service import Limits, SectionService
from bench.contestants.sandbox import Sandbox
from bench.demand.bench_term import fill_term, read_term
from bench.micro import sample_data
from persistence.imports.report import no_progress
from persistence.store.memory import MemoryDatabase, MemoryStore
from persistence.store.postgres import PostgresStore

ROUNDS = 60
STUDENTS = 2_000


class NoLease:
    """A lease that grants every section."""

    async def acquire(self, section_ids: Sequence[int]) -> Mapping[int, str]:
        """See ``allocator.ports.Lease``."""
        return {}

    async def release(self, section_ids: Sequence[int]) -> bool:
        """See ``allocator.ports.Lease``."""
        return True


class NobodyListens:
    """Nobody is told of a commit."""

    async def announce(self, committed: Committed) -> None:
        """See ``allocator.ports.Announcer``."""


def time_a_turn_of_200_in_memory(benchmark: BenchmarkFixture, runner: asyncio.Runner) -> None:
    """A turn without a database."""
    database = MemoryDatabase()
    for facts in sample_data.FACTS.values():
        database.add_section(facts._replace(meetings=()), sample_data.CAPACITY)
    for student_id in range(1, STUDENTS + 1):
        database.add_record(RegistrationRecord(RecordKey(student_id, sample_data.SEMESTER), 0, 0, 1_000, [], []))
    _time_turns(benchmark, runner, MemoryStore(database), list(sample_data.FACTS), list(range(1, STUDENTS + 1)))


def time_a_turn_of_200_on_postgres(benchmark: BenchmarkFixture, runner: asyncio.Runner, sandbox: Sandbox) -> None:
    """A turn with a commit to disk."""

    async def make() -> tuple[str, list[int], list[int]]:
        await sandbox.make_template(
            "micro", lambda url: fill_term(url, [sample_data.CAPACITY] * sample_data.SECTIONS, STUDENTS, no_progress)
        )
        url = sandbox.database_url("micro")
        term = await read_term(url)
        return url, term.section_ids, [one.student_id for one in term.students]

    url, section_ids, student_ids = runner.run(make())
    store = PostgresStore(url)
    _time_turns(benchmark, runner, store, section_ids, student_ids)
    runner.run(store.close())


def _time_turns(
    benchmark: BenchmarkFixture, runner: asyncio.Runner, store: Store, section_ids: list[int], student_ids: list[int]
) -> None:
    """Time turns of requests that are all granted: each time around, students ask for sections of another slot."""

    async def start() -> tuple[SectionService, asyncio.Task[None]]:
        service = SectionService("bench", store, NoLease(), NobodyListens(), SystemClock(), Limits())
        return service, asyncio.create_task(service.run())

    service, loop = runner.run(start())
    wanted = _wanted(section_ids, student_ids)

    def prepare() -> tuple[tuple[list[tuple[Envelope, float]]], dict[str, object]]:
        return ([(one, 30.0) for one in itertools.islice(wanted, sample_data.BATCH)],), {}

    def turn(envelopes: list[tuple[Envelope, float]]) -> set[str]:
        return {reply.code for reply in runner.run(service.submit(envelopes))}

    assert benchmark.pedantic(turn, setup=prepare, rounds=ROUNDS, warmup_rounds=5) == {Code.ENROLLED.value}  # type: ignore[no-untyped-call]
    loop.cancel()


def _wanted(section_ids: list[int], student_ids: list[int]) -> Iterator[Envelope]:
    numbers = itertools.count(1)
    for around in itertools.count():
        for index, student_id in enumerate(student_ids):
            # Eight slots: each time around, a student asks for a section of the next slot.
            section_id = section_ids[(index * 8 + around) % (len(section_ids) // 8 * 8)]
            yield Envelope(Enroll(section_id, student_id, True), f"key-{next(numbers)}", True, True)
