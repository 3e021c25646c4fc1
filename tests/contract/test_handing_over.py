"""Handover of sections between drain loops, on both stores: nothing is lost, and every answer is true."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Mapping, Sequence

import pytest

from allocator.model.commands import Command
from allocator.model.delivery import Envelope, Undecided
from allocator.model.outcomes import Code, Outcome
from allocator.model.section import SectionState
from allocator.ports import Committed, Store, StoreUnavailableError
from allocator.turns import residence
from allocator.turns import service as service_module
from allocator.turns.forwarding import FORWARDING_S
from allocator.turns.service import SectionService
from tests.drain_loop import (
    LocalLease,
    RecordingAnnouncer,
    TestClock,
    ask,
    ask_for_reply,
    capacity,
    drop,
    enroll,
    make_service,
    running,
)
from tests.sample_campus import World


class DistantLease(LocalLease):
    """One that takes a moment to be asked, so that others come in between."""

    async def acquire(self, section_ids: Sequence[int]) -> Mapping[int, str]:
        await asyncio.sleep(0.001)
        return await super().acquire(section_ids)


class Pair:
    """Two drain loops that share leases, as two actors do."""

    def __init__(self, world: World, **limits: float) -> None:
        self.owners: dict[int, str] = {}
        self.clock = TestClock()
        self.stores: dict[str, Store] = {}
        self.announcers: dict[str, RecordingAnnouncer] = {}
        self.a, self.b = (self._make(world, name, limits) for name in ("a", "b"))

    def _make(self, world: World, name: str, limits: dict[str, float]) -> SectionService:
        lease = DistantLease(self.owners, name)
        store = self.stores[name] = world.store()
        announcer = self.announcers[name] = RecordingAnnouncer()
        return make_service(store, f"{name}|1", lease, self.clock, announcer, **limits)

    async def follow(self, wanted: Envelope | Command, name: str = "a", budget_s: float = 5.0) -> Outcome:
        """As the gateway does: go where the section is said to be."""
        for _ in range(20):
            reply = await ask_for_reply({"a": self.a, "b": self.b}[name], wanted, budget_s)
            if reply.undecided is not Undecided.MOVED:
                assert reply.outcome is not None
                return reply.outcome
            name = reply.owner or name
        raise AssertionError("sent to and fro")


@contextlib.asynccontextmanager
async def pair(world: World, **limits: float) -> AsyncIterator[Pair]:
    both = Pair(world, **limits)
    async with running(both.a), running(both.b):
        yield both


async def test_what_was_handed_over_is_where_it_was_said_to_be_with_all_that_it_had(world: World) -> None:
    section_id = await world.add_section(1)
    students = [await world.add_student() for _ in range(4)]
    async with pair(world) as both:
        seat = await ask(both.a, enroll(students[0], section_id))
        await ask(both.a, enroll(students[1], section_id))
        assert await both.a.hand_over({section_id: "b"}) == 1
        assert (both.a.active_sections(), both.owners) == ([], {})
        moved = await ask_for_reply(both.a, enroll(students[2], section_id))
        assert (moved.code, moved.owner) == (Undecided.MOVED, "b")
        assert await both.b.take([section_id]) == 1
        assert both.b.active_sections() == [section_id]
        assert (await both.follow(enroll(students[2], section_id))).place == 2
        await both.follow(drop(students[0], section_id, seat.enrollment_id))
        assert (await both.follow(enroll(students[3], section_id))).place == 3
    statuses = await world.statuses(section_id)
    assert [statuses[one] for one in students] == ["dropped", "enrolled", "waitlisted", "waitlisted"]


async def test_before_its_successor_has_it_a_section_is_not_taken_back_by_who_let_it_go(world: World) -> None:
    section_id, student_id = await world.add_section(5), await world.add_student()
    async with pair(world) as both:
        await both.a.hand_over({section_id: "b"})
        for _ in range(3):
            assert (await ask_for_reply(both.a, enroll(student_id, section_id))).code is Undecided.MOVED
        assert both.a.active_sections() == []


async def test_what_waits_is_sent_on_when_the_lease_is_free(world: World) -> None:
    section_id, other = await world.add_section(50), await world.add_section(50)
    students = [await world.add_student() for _ in range(10)]
    async with pair(world) as both:
        await ask(both.a, enroll(students[0], section_id))
        async with both.a._turn_lock:  # a turn is at work
            handing_over = asyncio.create_task(both.a.hand_over({section_id: "b"}))
            await asyncio.sleep(0)
            asks = [asyncio.create_task(ask_for_reply(both.a, enroll(one, section_id))) for one in students[1:]]
            stays = asyncio.create_task(ask(both.a, enroll(students[0], other)))
            await asyncio.sleep(0)
        assert await handing_over == 1
        outcomes = [await one for one in asks]
        assert {(one.code, one.owner) for one in outcomes} == {(Undecided.MOVED, "b")}
        assert (await stays).code is Code.ENROLLED
        assert await both.b.take([section_id]) == 1
    assert (await world.seats(section_id)).enrolled == 1


async def test_the_turn_at_work_is_finished_first(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    section_id = await world.add_section(500)
    first, second = await world.add_student(), await world.add_student()
    committed, may_go_on = asyncio.Event(), asyncio.Event()

    async def announce_slowly(_committed: Committed) -> None:
        committed.set()
        await may_go_on.wait()

    async with pair(world) as both:
        monkeypatch.setattr(both.announcers["a"], "announce", announce_slowly)
        at_work = asyncio.create_task(ask(both.a, enroll(first, section_id)))
        await committed.wait()
        waits = asyncio.create_task(ask_for_reply(both.a, enroll(second, section_id)))
        handing_over = asyncio.create_task(both.a.hand_over({section_id: "b"}))
        await asyncio.sleep(0.02)
        assert both.owners == {section_id: "a"}, "nobody else may begin before this turn has ended"
        may_go_on.set()
        assert (await at_work).code is Code.ENROLLED
        assert (await waits).code is Undecided.MOVED
        assert await handing_over == 1
        assert both.a.active_sections() == []


async def test_a_successor_that_never_comes_is_not_waited_for(world: World) -> None:
    section_id, student_id = await world.add_section(5), await world.add_student()
    async with pair(world) as both:
        await both.a.hand_over({section_id: "b"})
        both.clock.ahead_s += FORWARDING_S
        assert (await ask(both.a, enroll(student_id, section_id))).code is Code.ENROLLED


async def test_two_that_name_each_other_serve_again_when_forwarding_is_over(world: World) -> None:
    section_id, student_id = await world.add_section(5), await world.add_student()
    async with pair(world) as both:
        await both.a.hand_over({section_id: "b"})
        await both.b.hand_over({section_id: "a"})  # and the controller dies before anybody is told to take it
        assert (await ask_for_reply(both.a, enroll(student_id, section_id))).owner == "b"
        assert (await ask_for_reply(both.b, enroll(student_id, section_id))).owner == "a"
        both.clock.ahead_s += FORWARDING_S
        assert (await both.follow(enroll(student_id, section_id))).code is Code.ENROLLED


async def test_a_section_that_comes_back_is_served_at_once(world: World) -> None:
    section_id = await world.add_section(50)
    students = [await world.add_student() for _ in range(10)]
    async with pair(world) as both:
        for number, student_id in enumerate(students):
            here, there, name = (both.a, both.b, "b") if number % 2 == 0 else (both.b, both.a, "a")
            await here.hand_over({section_id: name})
            assert await there.take([section_id]) == 1
            assert (await ask(there, enroll(student_id, section_id))).code is Code.ENROLLED
    assert (await world.seats(section_id)).enrolled == 10


async def test_nobody_hands_over_to_themselves(world: World) -> None:
    section_id, student_id = await world.add_section(5), await world.add_student()
    async with pair(world) as both:
        await ask(both.a, enroll(student_id, section_id))
        assert await both.a.hand_over({section_id: "a"}) == 0
        assert both.a.active_sections() == [section_id]


async def test_without_leases_who_lets_go_does_not_refuse(world: World) -> None:
    """Redis is away: the lease stays behind, the successor would send everything back, so it must be served here."""
    section_id, student_id = await world.add_section(5), await world.add_student()
    async with running(make_service(world.store(), "a")) as service:
        await service.hand_over({section_id: "b"})
        assert (await ask(service, enroll(student_id, section_id))).code is Code.ENROLLED


async def test_what_somebody_else_holds_is_left_to_them_and_what_is_not_there_is_nowhere(world: World) -> None:
    sections = [await world.add_section(5) for _ in range(3)]
    student_id = await world.add_student()
    async with pair(world) as both:
        await ask(both.a, enroll(student_id, sections[0]))
        assert await both.b.take([*sections, 987_654_321]) == 2
        assert await both.b.take(sections) == 0
        assert sorted(both.b.active_sections()) == sections[1:]
        assert both.owners.keys() == set(sections)


async def test_between_portions_of_a_large_take_others_have_their_turn(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(service_module, "TAKE_PORTION", 1)
    first, *rest = [await world.add_section(5) for _ in range(20)]
    student_id = await world.add_student()
    async with pair(world) as both:
        await both.a.take([first])
        taking = asyncio.create_task(both.a.take(rest))
        assert (await ask(both.a, enroll(student_id, first))).code is Code.ENROLLED
        assert not taking.done()
        assert await taking == len(rest)


async def test_several_that_take_at_once_count_what_each_of_them_took(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(service_module, "TAKE_PORTION", 2)
    sections = [await world.add_section(5) for _ in range(12)]
    async with pair(world) as both:
        taken = await asyncio.gather(both.a.take(sections[:7]), both.a.take(sections[5:]))
    assert sum(taken) == len(sections)


async def test_a_store_that_is_away_leaves_sections_to_their_first_request(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    section_id, student_id = await world.add_section(5), await world.add_student()

    async def away(_section_ids: Sequence[int], _owner: str) -> list[SectionState]:
        raise StoreUnavailableError("away")

    async with pair(world) as both:
        with monkeypatch.context() as broken:
            broken.setattr(both.stores["a"], "activate", away)
            assert await both.a.take([section_id]) == 0
        assert (await ask(both.a, enroll(student_id, section_id))).code is Code.ENROLLED


async def test_a_change_without_a_key_moves_without_a_doubt(world: World) -> None:
    section_id = await world.add_section(5)
    async with pair(world) as both:
        await both.a.take([section_id])
        for number in range(6):
            here, there, name = (both.a, both.b, "b") if number % 2 == 0 else (both.b, both.a, "a")
            changing = asyncio.create_task(both.follow(capacity(section_id, 10 + number), "ab"[number % 2]))
            await asyncio.sleep(0)
            await here.hand_over({section_id: name})
            await there.take([section_id])
            assert (await changing).code is Code.CHANGED
    assert (await world.seats(section_id)).capacity == 15


async def test_to_and_fro_under_load_loses_nothing_and_refuses_nobody(world: World) -> None:
    sections = [await world.add_section(8) for _ in range(5)]
    students = [await world.add_student(credit_limit=100) for _ in range(40)]
    async with pair(world, batch_max=16) as both:

        async def register(student: int) -> list[Outcome]:
            outcomes = []
            for section in sections:
                outcomes.append(await both.follow(enroll(student, section), "ab"[student % 2]))
                await asyncio.sleep(0.005)
            return outcomes

        students_at_work = [asyncio.create_task(register(student)) for student in students]
        moves = 0
        while not all(one.done() for one in students_at_work):
            here, there, name = (both.a, both.b, "b") if moves % 2 == 0 else (both.b, both.a, "a")
            await here.hand_over(dict.fromkeys(sections, name))
            await there.take(sections)
            moves += 1
            await asyncio.sleep(0.002)
        outcomes = [outcome for one in students_at_work for outcome in await one]
    assert moves > 2
    codes = [one.code for one in outcomes]
    assert codes.count(Code.ENROLLED) == 8 * len(sections)
    assert codes.count(Code.WAITLISTED) == 32 * len(sections)
    for section_id in sections:
        seats = await world.seats(section_id)
        assert (seats.enrolled, seats.waitlisted) == (8, 32)
        places = sorted(one.place for one in outcomes if one.section_id == section_id and one.place is not None)
        assert places == list(range(1, 33))


async def test_sections_that_nobody_asks_for_leave_memory_unless_somebody_waits(world: World) -> None:
    asked_for, waited_for, idle = [await world.add_section(1) for _ in range(3)]
    students = [await world.add_student() for _ in range(4)]
    async with pair(world, section_idle_s=100.0) as both:
        await ask(both.a, enroll(students[0], waited_for))
        await ask(both.a, enroll(students[1], waited_for))
        await both.a.take([asked_for, idle])
        both.clock.ahead_s += 99.0
        await ask(both.a, enroll(students[2], asked_for))
        await asyncio.sleep(0.1)
        assert sorted(both.a.active_sections()) == sorted((asked_for, waited_for, idle))
        both.clock.ahead_s += 2.0
        async with asyncio.timeout(5):
            while idle in both.a.active_sections():
                await asyncio.sleep(0.01)
        assert sorted(both.a.active_sections()) == sorted((asked_for, waited_for))
        assert both.owners.keys() == {asked_for, waited_for}
        assert both.a.stats.passivations == 1
        assert (await ask(both.b, enroll(students[3], idle))).code is Code.ENROLLED


async def test_many_idle_sections_leave_a_portion_at_a_time(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(residence, "PASSIVATED_MAX", 2)
    sections = [await world.add_section(1) for _ in range(5)]
    async with pair(world, section_idle_s=100.0) as both:
        await both.a.take(sections)
        both.clock.ahead_s += 101.0
        async with asyncio.timeout(5):
            left = {len(both.a.active_sections())}
            while both.a.active_sections():
                await asyncio.sleep(0.005)
                left.add(len(both.a.active_sections()))
    assert left <= {5, 3, 1, 0}


async def test_heat_is_of_what_was_decided_here(world: World) -> None:
    hot, cool = await world.add_section(500), await world.add_section(500)
    students = [await world.add_student() for _ in range(20)]
    async with pair(world) as both:
        for student_id in students:
            await ask(both.a, enroll(student_id, hot))
        await ask(both.a, enroll(students[0], cool))
        heat = both.a.heat(5)
        assert [section_id for section_id, _ in heat.hottest] == [hot, cool]
        assert (heat.sections, heat.inbox) == (2, 0)
        assert heat.commands_per_s > 0
        assert 0 < heat.busy <= 1
        assert [section_id for section_id, _ in both.a.heat(1).hottest] == [hot]
        await both.a.hand_over({hot: "b"})
        assert [section_id for section_id, _ in both.a.heat(5).hottest] == [cool]
        assert both.b.heat(5).hottest == []
