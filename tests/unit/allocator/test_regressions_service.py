"""Regression tests of the drain loop, for errors that a review found around commits whose outcome is unknown."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable

from allocator.model.commands import Enroll
from allocator.model.delivery import Envelope, Undecided
from allocator.model.outcomes import Code
from allocator.ports import Changes, Committed, CommitUnknownError, StoreUnavailableError, Turn
from allocator.turns.service import Limits, SectionService
from persistence.store.memory import MemoryStore
from tests.drain_loop import (
    LocalLease,
    NoLease,
    RecordingAnnouncer,
    TestClock,
    ask,
    ask_for_reply,
    capacity,
    enroll,
    make_service,
    running,
)
from tests.sample_campus import MemoryWorld


class LosingStore(MemoryStore):
    """Its first commit happens, but the answer is lost. Then what a test wants to happen next happens."""

    def __init__(self, world: MemoryWorld, then: Callable[[], None] = lambda: None) -> None:
        super().__init__(world.database)
        self.lost = asyncio.Event()
        self.is_away = False
        self._then = then

    @contextlib.asynccontextmanager
    async def turn(self) -> AsyncIterator[Turn]:
        if self.is_away:
            raise StoreUnavailableError("away")
        async with super().turn() as turn:
            if not self.lost.is_set():
                turn.commit = self._losing(turn)  # type: ignore[method-assign]
            yield turn

    def _losing(self, turn: Turn):  # type: ignore[no-untyped-def]
        commit = turn.commit

        async def lose(changes: Changes) -> None:
            await commit(changes)
            self.lost.set()
            self._then()
            raise CommitUnknownError("lost after it happened")

        return lose


async def test_what_may_have_been_committed_is_not_said_to_have_moved_when_its_section_is_released() -> None:
    world = MemoryWorld()
    section_id, student_id = await world.add_section(5), await world.add_student()
    store = LosingStore(world, lambda: setattr(store, "is_away", True))
    async with running(make_service(store)) as service:
        waiting = asyncio.create_task(ask_for_reply(service, enroll(student_id, section_id)))
        await store.lost.wait()
        await service.release([section_id])
        # MOVED would send the command on as one that was never tried, to be told that the student is in already.
        assert (await waiting).code is Undecided.UNKNOWN
    assert await world.statuses(section_id) == {student_id: "enrolled"}


async def test_nor_when_another_actor_took_the_lease() -> None:
    world, owners = MemoryWorld(), dict[int, str]()
    section_id, student_id = await world.add_section(5), await world.add_student()
    store = LosingStore(world, lambda: owners.update({section_id: "b"}))
    service = SectionService("a", store, LocalLease(owners, "a"), RecordingAnnouncer(), TestClock(), Limits())
    async with running(service):
        reply = await ask_for_reply(service, enroll(student_id, section_id))
    assert (reply.code, reply.owner) == (Undecided.UNKNOWN, "b")


async def test_a_failure_after_the_commit_does_not_make_a_second_effect_or_a_false_refusal() -> None:
    class FailingAnnouncer(RecordingAnnouncer):
        async def announce(self, committed: Committed) -> None:
            if not self.sections:
                self.sections.update(one.section_id for one in committed.seats)
                raise RuntimeError("it said that it never raises")

    world = MemoryWorld()
    section_id, student_id = await world.add_section(5), await world.add_student()
    service = SectionService("a", world.store(), NoLease(), FailingAnnouncer(), TestClock(), Limits())
    async with running(service):
        outcome = await ask(service, Envelope(Enroll(section_id, student_id, True), "server-made"))
    assert outcome.code is Code.ENROLLED
    assert (await world.seats(section_id)).enrolled == 1


async def test_a_change_of_staff_that_may_have_happened_is_not_made_again() -> None:
    world = MemoryWorld()
    section_id = await world.add_section(5)

    def somebody_else_cuts() -> None:
        world.database.seats[section_id].capacity = 2

    store = LosingStore(world, somebody_else_cuts)
    async with running(make_service(store)) as service:
        assert (await ask_for_reply(service, capacity(section_id, 9))).code is Undecided.UNKNOWN
    assert (await world.seats(section_id)).capacity == 2


async def test_no_lease_is_kept_for_a_section_that_is_none() -> None:
    world, owners = MemoryWorld(), dict[int, str]()
    student_id = await world.add_student()
    service = SectionService("a", world.store(), LocalLease(owners, "a"), RecordingAnnouncer(), TestClock(), Limits())
    async with running(service):
        assert (await ask(service, enroll(student_id, 987_654))).code is Code.NOT_FOUND
    assert owners == {}


async def test_what_is_found_done_after_a_commit_in_doubt_is_told_before_it_is_acknowledged() -> None:
    world = MemoryWorld()
    section_id, student_id = await world.add_section(5), await world.add_student()
    announcer = RecordingAnnouncer()
    service = SectionService("a", LosingStore(world), NoLease(), announcer, TestClock(), Limits())
    async with running(service):
        reply = await ask_for_reply(service, enroll(student_id, section_id, key="mine"))
    assert (reply.code, reply.replayed) == (Code.ENROLLED, True)
    assert (announcer.sections, announcer.students) == ({section_id}, {student_id}), (
        "nobody told of the turn that was lost"
    )


async def test_a_repeat_is_not_answered_before_what_it_repeats_is_told() -> None:
    class SlowAnnouncer(RecordingAnnouncer):
        def __init__(self) -> None:
            super().__init__()
            self.asked, self.told = asyncio.Event(), asyncio.Event()

        async def announce(self, committed: Committed) -> None:
            self.asked.set()
            await self.told.wait()

    world = MemoryWorld()
    section_id, student_id = await world.add_section(5), await world.add_student()
    announcer = SlowAnnouncer()
    service = SectionService("a", world.store(), NoLease(), announcer, TestClock(), Limits())
    async with running(service):
        first = asyncio.create_task(ask_for_reply(service, enroll(student_id, section_id, key="mine")))
        await announcer.asked.wait()
        again = asyncio.create_task(ask_for_reply(service, enroll(student_id, section_id, key="mine")))
        await asyncio.sleep(0.05)
        assert not again.done(), "whoever is answered may look at once, in any process"
        announcer.told.set()
        assert [(await one).replayed for one in (first, again)] == [False, True]
