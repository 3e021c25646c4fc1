"""The Postgres limit: the statements of the batch store, with nothing to decide, as fast as they go."""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import Iterator
from typing import Any

from allocator.model.commands import Enroll, request_of
from allocator.model.events import SeatTaken
from allocator.model.outcomes import Code, Outcome
from allocator.model.record import RecordKey
from allocator.model.section import SectionState
from allocator.ports import Changes, SeatWrite, StoredAnswer
from bench.contestants.sandbox import Sandbox
from bench.demand.bench_term import CREDIT_LIMIT, BenchTerm, fill_term, read_term
from persistence.imports.report import no_progress
from persistence.store.postgres import PostgresStore

DATABASE = "bench_batches"
SECTIONS = 256
STUDENTS = 4_096
CAPACITY = 100_000
SHAPES = ((1, 50), (1, 200), (2, 200), (2, 500))
"""Pairs of connections, and enrolments in a transaction."""


async def measure_batches(sandbox: Sandbox, seconds: float) -> list[dict[str, Any]]:
    """Enrolments a second by number of connections and size of batch, each on a new database."""
    await sandbox.make_template(
        f"{DATABASE}_template", lambda url: fill_term(url, [CAPACITY] * SECTIONS, STUDENTS, no_progress)
    )
    found = []
    for connections, batch in SHAPES:
        url = await sandbox.clone(DATABASE, f"{DATABASE}_template")
        term = await read_term(url)
        await sandbox.settle()
        writers = [_Writer(url, term, number, connections, batch) for number in range(connections)]
        deadline = time.perf_counter() + seconds
        written = await asyncio.gather(*(writer.run(deadline) for writer in writers))
        found.append({"connections": connections, "batch": batch, "per_s": round(sum(written) / seconds, 1)})
        await sandbox.drop(DATABASE)
    await sandbox.drop(f"{DATABASE}_template")
    return found


class _Writer:
    """A connection with sections and students of its own. Each student takes one section after the other."""

    def __init__(self, url: str, term: BenchTerm, number: int, of: int, batch: int) -> None:
        self._store = PostgresStore(url)
        self._sections = term.section_ids[number::of]
        self._students = [one.student_id for one in term.students[number::of]]
        self._batch = batch
        self._number = number

    async def run(self, deadline: float) -> int:
        """Write until the deadline; the number of enrolments."""
        states = {one.section_id: one for one in await self._store.activate(self._sections, "bench")}
        semester_id = (await self._store.facts(self._sections[:1]))[0].term.semester_id
        ids = itertools.count(1 + self._number * 100_000_000)
        pairs = self._pairs()
        written = 0
        while time.perf_counter() < deadline:
            wanted = list(itertools.islice(pairs, self._batch))
            if not wanted:
                break
            written += await self._write(wanted, states, semester_id, ids)
        await self._store.close()
        return written

    def _pairs(self) -> Iterator[tuple[int, int]]:
        for shift in range(CREDIT_LIMIT):
            for index, student_id in enumerate(self._students):
                yield student_id, self._sections[(index + shift) % len(self._sections)]

    async def _write(
        self, wanted: list[tuple[int, int]], states: dict[int, SectionState], semester_id: int, ids: Iterator[int]
    ) -> int:
        async with self._store.turn() as turn:
            keys = sorted({RecordKey(student_id, semester_id) for student_id, _ in wanted})
            records = (await turn.lock_records([], keys)).records
            changes = Changes(records=list(records.values()))
            before = {section_id: states[section_id] for _, section_id in wanted}
            for student_id, section_id in wanted:
                record, state, enrollment_id = (
                    records[RecordKey(student_id, semester_id)],
                    states[section_id],
                    next(ids),
                )
                states[section_id] = state = state._replace(seq=state.seq + 1, enrolled=state.enrolled + 1)
                event = SeatTaken(section_id, state.seq, student_id, enrollment_id, 1)
                record.apply(event)
                changes.events.append(event)
                request = request_of(Enroll(section_id, student_id, True))
                outcome = Outcome(Code.ENROLLED, section_id, enrollment_id)
                changes.answers.append(StoredAnswer(student_id, f"b-{enrollment_id}", request, outcome))
            changes.fences = [(section_id, before[section_id].epoch) for section_id in sorted(before)]
            changes.seats = [_seat_write(before[section_id], states[section_id]) for section_id in sorted(before)]
            await turn.commit(changes)
        return len(wanted)


def _seat_write(before: SectionState, after: SectionState) -> SeatWrite:
    return SeatWrite(
        after.section_id, after.epoch, before.seq, after.seq, after.capacity, after.enrolled, 0, 0, after.is_open,
        after.over_capacity,
    )  # fmt: skip
