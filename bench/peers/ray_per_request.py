"""One Ray actor for each section, with a Ray call and a transaction for each request.

The code in the actor is Seatline's own (store, decision), used for one command at a time: the difference is that
nothing is batched. Each section is a process, which limits their number: this peer is measured with a few sections.
"""

from __future__ import annotations

import asyncio
import time
from typing import Any

import ray

from allocator.model.commands import Enroll
from allocator.model.delivery import Envelope, Reply
from allocator.model.outcomes import Code, Outcome
from allocator.model.record import RecordKey
from allocator.model.section import Section
from allocator.rules.table import Judge
from allocator.turns.decision import Decision
from allocator.turns.enrollment_ids import EnrollmentIds
from allocator.turns.facts_cache import FactsCache
from allocator.turns.inbox import Call, Entry
from bench.peers.environment import PeerEnvironment
from bench.peers.web_server import build_app, run, serve
from persistence.store.postgres import PostgresStore

LOGICAL_CPUS = 64


class OneSection:
    """A section in a process of its own, with its seats in memory. It handles one request after the other."""

    def __init__(self, section_id: int, database_url: str) -> None:
        self._section_id = section_id
        self._store = PostgresStore(database_url)
        self._facts = FactsCache(self._store)
        self._ids = EnrollmentIds(self._store)
        self._judge = Judge()
        self._section: Section | None = None
        self._alone = asyncio.Lock()

    async def start(self) -> None:
        """Activate the section under a new epoch."""
        (state,) = await self._store.activate([self._section_id], f"bench-{self._section_id}")
        self._section = Section(state)
        await self._facts.load([self._section_id])

    async def enroll(self, student_id: int, join_waitlist: bool, key: str, keep_answer: bool) -> tuple[Any, ...]:
        """Decide and commit one request. Returns the fields of a reply."""
        command = Enroll(self._section_id, student_id, join_waitlist)
        async with self._alone:
            return tuple(await self._decide(command, key, keep_answer=keep_answer))

    async def _decide(self, command: Enroll, key: str, *, keep_answer: bool) -> Reply:
        assert self._section is not None, "start comes first"  # noqa: S101
        record_key = RecordKey(command.student_id, self._facts[self._section_id].term.semester_id)
        ids = await self._ids.reserve(1)
        async with self._store.turn() as turn:
            locked = await turn.lock_records([record_key], [])
            stored = await turn.answers([(command.student_id, key)] if keep_answer else [])
            record = locked.records.get(record_key)
            await self._facts.load([self._section_id, *(record.enrolled if record else [])])
            sections = {self._section_id: self._section}
            decision = Decision(sections, self._facts.__getitem__, locked.records, ids, time.time(), self._judge)
            envelope = Envelope(command, key, keep_answer, keep_answer)
            decision.decide([Entry(envelope, 0.0, Call(1), 0)], stored, {})
            changes = decision.changes()
            if changes.fences:
                await turn.commit(changes)
        for draft in decision.changed_sections():
            draft.events = []
            self._section = draft
        (done,) = decision.decided
        return Reply(done.outcome, replayed=done.replayed)


class RaySections:
    """The handles of the section actors."""

    def __init__(self, sections: dict[int, Any]) -> None:
        self._sections = sections

    async def enroll_one(self, command: Enroll, key: str, keep_answer: bool) -> Reply:
        """Decide one request."""
        actor = self._sections.get(command.section_id)
        if actor is None:
            return Reply(Outcome(Code.NOT_FOUND, command.section_id))
        return Reply(*await actor.enroll.remote(command.student_id, command.join_waitlist, key, keep_answer))


async def main() -> None:
    """Start Ray and the actors, then serve."""
    environment = PeerEnvironment.read()
    ray.init(
        address="local", num_cpus=LOGICAL_CPUS, include_dashboard=False, log_to_driver=False, configure_logging=False
    )
    section_class: Any = ray.remote(OneSection)
    options = {"num_cpus": 0.001, "max_concurrency": 1000, "enable_task_events": False}
    actors = {
        one: section_class.options(**options).remote(one, environment.database_url) for one in environment.sections
    }
    for actor in actors.values():
        await actor.start.remote()
    try:
        await serve(build_app(environment.tokens(), RaySections(actors).enroll_one), environment.port)
    finally:
        ray.shutdown()


if __name__ == "__main__":
    run(main)
