"""The section actor without Ray: its answers before, during and after it stops."""

from __future__ import annotations

import asyncio

import pytest

from allocator.actor import Host, SectionActor, StoppedError
from allocator.model.delivery import Reply, Undecided
from allocator.model.outcomes import Code
from cluster.gateway.wire import WireCodec
from tests.drain_loop import LocalLease, enroll, make_service
from tests.sample_campus import MemoryWorld

CODEC = WireCodec()


class Built:
    """Builds hosts over one campus, slowly if ``gate`` is shut; remembers what was closed."""

    def __init__(self, world: MemoryWorld) -> None:
        self.owners: dict[int, str] = {}
        self.built = self.closed = 0
        self.gate = asyncio.Event()
        self.gate.set()
        self._world = world

    async def __call__(self, name: str, incarnation: str) -> Host:
        await self.gate.wait()
        self.built += 1
        lease = LocalLease(self.owners, name)

        async def close() -> None:
            self.closed += 1

        return Host(make_service(self._world.store(), f"{name}|{incarnation}", lease), CODEC, close)


async def say(actor: SectionActor, student_id: int, section_id: int) -> Reply:
    """One command, as the gateway sends it."""
    packed = CODEC.encode_commands([(enroll(student_id, section_id), 2.0)])
    return CODEC.decode_replies(await actor.submit(packed))[0]


async def test_a_stopped_actor_holds_nothing_and_sends_everything_elsewhere() -> None:
    world = MemoryWorld()
    section_id, students = await world.add_section(5), [await world.add_student() for _ in range(3)]
    build = Built(world)
    actor = SectionActor("a", build)
    assert (await say(actor, students[0], section_id)).code is Code.ENROLLED
    await actor.stop()
    assert (build.owners, build.closed) == ({}, 1)
    for student_id in students:
        moved = await say(actor, student_id, section_id)
        assert (moved.code, moved.owner) == (Undecided.MOVED, None)
    assert await actor.snapshot() == []
    assert await actor.active_sections() == []
    assert await actor.hand_over({section_id: "b"}) == 0
    await actor.release()
    for call in (actor.ping(), actor.take([section_id]), actor.heat(1), actor.stats()):
        with pytest.raises(StoppedError):
            await call
    await actor.stop()
    assert build.built == build.closed == 1


async def test_what_waits_when_it_is_stopped_is_answered() -> None:
    world = MemoryWorld()
    section_id, students = await world.add_section(50), [await world.add_student() for _ in range(30)]
    build = Built(world)
    actor = SectionActor("a", build)
    await actor.ping()
    async with asyncio.timeout(5):
        asks = [asyncio.create_task(say(actor, student_id, section_id)) for student_id in students]
        await asyncio.sleep(0)
        await actor.stop()
        outcomes = await asyncio.gather(*asks)
    assert {one.code for one in outcomes} <= {Code.ENROLLED, Undecided.MOVED}
    assert (await world.seats(section_id)).enrolled == [one.code for one in outcomes].count(Code.ENROLLED)


async def test_one_that_is_stopped_while_it_starts_stops() -> None:
    world = MemoryWorld()
    section_id, student_id = await world.add_section(5), await world.add_student()
    build = Built(world)
    build.gate.clear()
    actor = SectionActor("a", build)
    asking = asyncio.create_task(say(actor, student_id, section_id))
    await asyncio.sleep(0)
    stopping = asyncio.create_task(actor.stop())
    await asyncio.sleep(0)
    build.gate.set()
    async with asyncio.timeout(5):
        await stopping
        assert (await asking).code in {Undecided.MOVED, Code.ENROLLED}
    assert build.built == build.closed == 1
    assert build.owners == {}


async def test_one_that_never_started_does_not_start_to_say_that_it_stopped() -> None:
    build = Built(MemoryWorld())
    actor = SectionActor("a", build)
    await actor.stop()
    with pytest.raises(StoppedError):
        await say(actor, 1, 1)
    assert build.built == 0


async def test_sections_go_from_actor_to_actor() -> None:
    world = MemoryWorld()
    section_id, students = await world.add_section(5), [await world.add_student() for _ in range(2)]
    build = Built(world)
    a, b = SectionActor("a", build), SectionActor("b", build)
    assert await a.take([section_id]) == 1
    assert await a.hand_over({section_id: "b"}) == 1
    assert await b.take([section_id]) == 1
    moved = await say(a, students[0], section_id)
    assert (moved.code, moved.owner) == (Undecided.MOVED, "b")
    assert (await say(b, students[0], section_id)).code is Code.ENROLLED
    assert await b.active_sections() == [section_id]
    assert (await b.heat(3)).sections == 1
    await a.stop()
    await b.stop()
