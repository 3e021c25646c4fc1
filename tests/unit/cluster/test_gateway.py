"""The gateway, with actors that the test scripts: coalescing, following, retrying, shedding, deadlines."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
from collections.abc import AsyncIterator, Callable

import pytest

from allocator.model.commands import Command, Enroll
from allocator.model.outcomes import Code, Outcome
from cluster.config.settings import Placement
from cluster.gateway.directory import Directory, DirectoryView
from cluster.gateway.gateway import PORTION, ActorLostError, Gateway, GatewayLimits
from cluster.gateway.wire import WireCodec, WireError
from tests.drain_loop import capacity, drop, enroll

Decide = Callable[[str, list[Command]], list[Outcome]]
CODEC = WireCodec()


class ScriptedActors:
    """Answers calls with a function; ``gate`` holds them back; every call is written down."""

    def __init__(self, decide: Decide) -> None:
        self.decide = decide
        self.calls: list[tuple[str, list[Command]]] = []
        self.gate = asyncio.Event()
        self.gate.set()

    async def call(self, name: str, packed: bytes) -> bytes:
        commands = [command for command, _ in CODEC.decode_commands(packed)]
        self.calls.append((name, commands))
        await self.gate.wait()
        return CODEC.encode_outcomes(self.decide(name, commands))


def enrolled(_name: str, commands: list[Command]) -> list[Outcome]:
    """Everybody gets a seat; the enrolment id is the student's."""
    return [Outcome(Code.ENROLLED, one.section_id, getattr(one, "student_id", None)) for one in commands]


@contextlib.asynccontextmanager
async def gateway(actors: ScriptedActors, names: tuple[str, ...] = ("a",), **limits: float) -> AsyncIterator[Gateway]:
    """A gateway to pooled actors of these names."""
    directory = Directory(DirectoryView(0, Placement.POOLED, names))
    opened = Gateway(directory, actors.call, GatewayLimits(**{"calls_max": 1, **limits}))  # type: ignore[arg-type]
    yield opened
    await opened.close()


async def test_what_gathers_during_a_call_goes_out_in_the_next() -> None:
    actors = ScriptedActors(enrolled)
    async with gateway(actors) as way:
        actors.gate.clear()
        first = asyncio.create_task(way.submit(enroll(1, 7)))
        await asyncio.sleep(0)
        rest = [asyncio.create_task(way.submit(enroll(student, 7))) for student in range(2, 50)]
        await asyncio.sleep(0.01)
        actors.gate.set()
        outcomes = await asyncio.gather(first, *rest)
    assert [len(commands) for _, commands in actors.calls] == [1, 48]
    assert [one.enrollment_id for one in outcomes] == list(range(1, 50))


async def in_flight(actors: ScriptedActors, way: Gateway, students: range) -> list[asyncio.Task[Outcome]]:
    """Requests of these students, sent on as far as they are at once."""
    tasks = [asyncio.create_task(way.submit(enroll(student, 7))) for student in students]
    await asyncio.sleep(0.01)
    return tasks


def sizes(actors: ScriptedActors) -> list[int]:
    """Commands in each call."""
    return [len(commands) for _, commands in actors.calls]


async def test_a_second_call_leaves_when_as_much_waits_as_the_first_carries() -> None:
    actors = ScriptedActors(enrolled)
    async with gateway(actors, calls_max=2) as way:
        actors.gate.clear()
        tasks = await in_flight(actors, way, range(10))
        tasks += await in_flight(actors, way, range(10, 19))
        assert sizes(actors) == [10], "all that waits can go in the next"
        tasks += await in_flight(actors, way, range(19, 20))
        assert sizes(actors) == [10, 10]
        tasks += await in_flight(actors, way, range(20, 60))
        assert sizes(actors) == [10, 10], "two calls and no more"
        actors.gate.set()
        await asyncio.gather(*tasks)
        assert sizes(actors) == [10, 10, 40]
        actors.gate.clear()
        tasks = await in_flight(actors, way, range(60, 70))
        tasks += await in_flight(actors, way, range(70, 75))
        assert sizes(actors) == [10, 10, 40, 10], "and then one again"
        actors.gate.set()
        await asyncio.gather(*tasks)


async def test_with_more_calls_allowed_the_next_leaves_with_a_full_batch() -> None:
    actors = ScriptedActors(enrolled)
    async with gateway(actors, calls_max=4, batch_max=10) as way:
        actors.gate.clear()
        tasks = await in_flight(actors, way, range(8))
        tasks += await in_flight(actors, way, range(8, 16))
        assert sizes(actors) == [8, 8]
        tasks += await in_flight(actors, way, range(16, 25))
        assert sizes(actors) == [8, 8]
        tasks += await in_flight(actors, way, range(25, 26))
        assert sizes(actors) == [8, 8, 10]
        actors.gate.set()
        await asyncio.gather(*tasks)


class FirstCallHangs(ScriptedActors):
    """Until the gate is opened; the others go by it."""

    async def call(self, name: str, packed: bytes) -> bytes:
        if self.calls:
            return CODEC.encode_outcomes(self.decide(name, [one for one, _ in CODEC.decode_commands(packed)]))
        return await super().call(name, packed)


async def test_a_call_that_hangs_does_not_keep_the_others_waiting() -> None:
    actors = FirstCallHangs(enrolled)
    actors.gate.clear()
    async with gateway(actors, calls_max=2) as way:
        lost = await in_flight(actors, way, range(100, 120))
        behind = await in_flight(actors, way, range(1, 20))
        assert not any(task.done() for task in behind)
        async with asyncio.timeout(1.0):
            outcomes = await asyncio.gather(*behind)
            for student in range(20, 60):  # and from now on there is a way past it, without a wait for each
                outcomes.append(await way.submit(enroll(student, 7)))
        assert {one.code for one in outcomes} == {Code.ENROLLED}
        assert not any(task.done() for task in lost)
        actors.gate.set()
        assert {one.code for one in await asyncio.gather(*lost)} == {Code.ENROLLED}


async def test_a_moved_section_is_followed_and_keeps_its_key() -> None:
    def decide(name: str, commands: list[Command]) -> list[Outcome]:
        if name == "a":
            return [Outcome(Code.MOVED, one.section_id, owner="b") for one in commands]
        return enrolled(name, commands)

    actors = ScriptedActors(decide)
    async with gateway(actors) as way:
        outcome = await way.submit(enroll(1, 7, key="mine"))
    assert outcome.code is Code.ENROLLED
    assert [name for name, _ in actors.calls] == ["a", "b"]
    assert actors.calls[0][1] == actors.calls[1][1]


async def test_a_lost_actor_is_asked_again_to_look_the_key_up() -> None:
    failures = 2

    def decide(name: str, commands: list[Command]) -> list[Outcome]:
        nonlocal failures
        if failures:
            failures -= 1
            raise ActorLostError("gone")
        return enrolled(name, commands)

    actors = ScriptedActors(decide)
    async with gateway(actors) as way:
        outcome = await way.submit(enroll(1, 7))
    assert outcome.code is Code.ENROLLED
    tries = [commands[0] for _, commands in actors.calls]
    assert isinstance(tries[0], Enroll)
    assert [one.maybe_tried for one in tries if isinstance(one, Enroll)] == [False, True, True]
    assert {one.key for one in tries if isinstance(one, Enroll)} == {tries[0].key}


async def test_a_request_that_was_sent_and_not_answered_is_unknown_at_its_deadline() -> None:
    actors = ScriptedActors(enrolled)
    async with gateway(actors, deadline_s=0.2) as way:
        actors.gate.clear()
        sent = asyncio.create_task(way.submit(enroll(1, 7)))
        await asyncio.sleep(0.01)
        never_sent = asyncio.create_task(way.submit(enroll(2, 7)))
        assert (await sent).code is Code.UNKNOWN
        assert (await never_sent).code is Code.UNAVAILABLE
        actors.gate.set()
        await asyncio.sleep(0.05)
    sent_at_all = [one.student_id for _, commands in actors.calls for one in commands if isinstance(one, Enroll)]
    assert sent_at_all == [1], "what waited past its deadline has no effect later either"


async def test_an_actor_that_stays_lost_gives_unknown_at_the_deadline_not_later() -> None:
    def decide(_name: str, _commands: list[Command]) -> list[Outcome]:
        raise ActorLostError("gone")

    async with gateway(ScriptedActors(decide), deadline_s=0.3) as way, asyncio.timeout(2):
        assert (await way.submit(enroll(1, 7))).code is Code.UNKNOWN


async def test_a_full_list_sheds_at_once_and_recovers() -> None:
    actors = ScriptedActors(enrolled)
    async with gateway(actors, pending_max=3) as way:
        actors.gate.clear()
        tasks = [asyncio.create_task(way.submit(enroll(student, 7))) for student in range(1, 11)]
        await asyncio.sleep(0.01)
        assert [task.result().code for task in tasks if task.done()] == [Code.OVERLOADED] * 7
        actors.gate.set()
        codes = [(await task).code for task in tasks]
        assert codes.count(Code.ENROLLED) == 3
        assert (await way.submit(enroll(99, 7))).code is Code.ENROLLED


async def test_no_more_wait_in_all_than_may_and_nothing_is_sent_of_the_rest() -> None:
    actors = ScriptedActors(enrolled)
    async with gateway(actors, ("a", "b"), unanswered_max=3) as way:
        actors.gate.clear()
        waiting = [asyncio.create_task(way.submit(enroll(student, student))) for student in range(1, 4)]
        await asyncio.sleep(0.01)
        shed = await way.submit(enroll(4, 4))
        actors.gate.set()
        served = await asyncio.gather(*waiting)
        again = await way.submit(enroll(4, 4, key="later"))
    assert shed.code is Code.OVERLOADED
    assert {one.code for one in (*served, again)} == {Code.ENROLLED}
    sent = [one.key for _, commands in actors.calls for one in commands if isinstance(one, Enroll)]
    assert len(sent) == 4
    assert "later" in sent


async def test_an_actor_that_is_lost_is_asked_a_few_times_whoever_asks() -> None:
    def lost(_name: str, _commands: list[Command]) -> list[Outcome]:
        raise ActorLostError("gone")

    actors = ScriptedActors(lost)
    async with gateway(actors, deadline_s=1.0) as way:
        waiting = []
        for student in range(1, 301):
            waiting.append(asyncio.create_task(way.submit(enroll(student, 7))))
            await asyncio.sleep(0.001)
        outcomes = await asyncio.gather(*waiting)
        assert {one.code for one in outcomes} <= {Code.UNKNOWN, Code.UNAVAILABLE}
        # 300 requests that each try about five times would be 1,500 calls.
        assert len(actors.calls) <= 20

        actors.decide = enrolled
        assert (await way.submit(enroll(999, 7))).code is Code.ENROLLED


async def test_between_portions_of_a_large_batch_others_get_their_turn() -> None:
    actors = ScriptedActors(enrolled)
    progress: list[int] = []
    async with gateway(actors) as way:
        actors.gate.clear()
        first = asyncio.create_task(way.submit(enroll(1, 7)))
        await asyncio.sleep(0)
        rest = [asyncio.create_task(way.submit(enroll(student, 7))) for student in range(2, 302)]
        await asyncio.sleep(0.01)
        actors.gate.set()
        while not all(one.done() for one in rest):
            progress.append(sum(one.done() for one in rest))
            await asyncio.sleep(0)
        outcomes = [await first, *[await one for one in rest]]
    assert [one.enrollment_id for one in outcomes] == list(range(1, 302))
    steps = {later - earlier for earlier, later in itertools.pairwise(progress)}
    assert max(steps) <= PORTION


async def test_closing_between_portions_leaves_nobody_waiting() -> None:
    actors = ScriptedActors(enrolled)
    async with gateway(actors) as way:
        actors.gate.clear()
        first = asyncio.create_task(way.submit(enroll(1, 7)))
        await asyncio.sleep(0)
        rest = [asyncio.create_task(way.submit(enroll(student, 7))) for student in range(2, 302)]
        await asyncio.sleep(0.01)
        actors.gate.set()
        while not any(one.done() for one in rest):
            await asyncio.sleep(0)
        await way.close()
        async with asyncio.timeout(1):
            outcomes = [await first, *[await one for one in rest]]
    codes = {one.code for one in outcomes}
    assert codes == {Code.ENROLLED, Code.UNKNOWN}, "what was not told is unknown, never a failure"


async def test_closing_leaves_nobody_waiting() -> None:
    actors = ScriptedActors(enrolled)
    actors.gate.clear()
    async with gateway(actors) as way:
        tasks = [asyncio.create_task(way.submit(enroll(student, 7))) for student in (1, 2)]
        await asyncio.sleep(0.01)
        third = asyncio.create_task(way.submit(enroll(3, 7)))
        await asyncio.sleep(0)
    async with asyncio.timeout(1):
        codes = [(await task).code for task in (*tasks, third)]
    assert codes[0] is Code.UNKNOWN
    assert Code.ENROLLED not in codes


@pytest.mark.parametrize("names", [("a",), ()], ids=["an actor that hangs", "no actor"])
async def test_who_asks_again_when_told_of_a_deadline_does_not_end_the_deadlines(names: tuple[str, ...]) -> None:
    """As a connection does that has the client's next request already."""
    actors, told = ScriptedActors(enrolled), list[Code]()
    async with gateway(actors, names, deadline_s=0.1) as way:
        actors.gate.clear()

        def tell(outcome: Outcome) -> None:
            told.append(outcome.code)
            if len(told) <= 5:
                way.send(enroll(len(told), 7), tell)

        for student in range(100, 105):
            way.send(enroll(student, 7), tell)
            await asyncio.sleep(0)
        async with asyncio.timeout(2):
            assert (await way.submit(enroll(200, 7))).code is Code.UNAVAILABLE
            while len(told) < 10:
                await asyncio.sleep(0.01)
        actors.gate.set()


async def test_who_cannot_be_told_keeps_nobody_else_from_their_answer() -> None:
    actors, told = ScriptedActors(enrolled), list[Outcome]()

    def fail(_outcome: Outcome) -> None:
        raise RuntimeError("a bug")

    async with gateway(actors) as way:
        for student in range(6):
            way.send(enroll(student, 7), told.append if student % 2 else fail)
        assert (await way.submit(enroll(9, 7))).code is Code.ENROLLED
    assert [one.enrollment_id for one in told] == [1, 3, 5]


async def test_rubbish_from_an_actor_is_no_answer() -> None:
    class Rubbish(ScriptedActors):
        async def call(self, name: str, packed: bytes) -> bytes:
            return b"\xc1 rubbish"

    async with gateway(Rubbish(enrolled), deadline_s=0.2) as way:
        assert (await way.submit(enroll(1, 7))).code is Code.UNKNOWN


def test_rendezvous_moves_only_what_must() -> None:
    two = Directory(DirectoryView(0, Placement.POOLED, ("a", "b")))
    three = Directory(DirectoryView(0, Placement.POOLED, ("a", "b", "c")))
    moved = [one for one in range(3000) if two.owner(one) != three.owner(one)]
    assert all(three.owner(one) == "c" for one in moved)
    assert 800 < len(moved) < 1200
    assert Directory(DirectoryView(0, Placement.DEDICATED, ())).owner(42) == "section-42"


def test_what_is_packed_comes_out_again() -> None:
    batch: list[tuple[Command, float]] = [(enroll(1, 2, key="ü"), 1.5), (drop(1, 2, 3), 0.0), (capacity(4, 5), 2.0)]
    assert CODEC.decode_commands(CODEC.encode_commands(batch)) == batch


@pytest.mark.parametrize("packed", [b"", b"\x00", b"\x91\x93\x63\xcb", b"\x91\x93\x63\x01\x90", b"\xff" * 100])
def test_what_is_no_batch_is_refused(packed: bytes) -> None:
    with pytest.raises(WireError):
        CODEC.decode_commands(packed)
