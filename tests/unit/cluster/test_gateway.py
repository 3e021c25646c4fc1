"""The gateway, with actors that the test scripts: coalescing, following, retrying, shedding, deadlines."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
from collections.abc import AsyncIterator, Callable, Iterable
from typing import cast

import pytest

from allocator.model.commands import Command, Drop, Enroll, RecheckHead
from allocator.model.delivery import MOVED, Envelope, Reply, Undecided
from allocator.model.outcomes import Code, Outcome
from cluster.config.settings import Placement
from cluster.gateway.conclusion import PORTION
from cluster.gateway.directory import Directory, DirectoryView
from cluster.gateway.errors import ActorLostError
from cluster.gateway.gateway import Gateway, GatewayLimits
from cluster.gateway.wire import WireCodec, WireError
from tests.drain_loop import capacity, drop, enroll

Decide = Callable[[str, list[Envelope]], list[Reply]]
CODEC = WireCodec()


class ScriptedActors:
    """Answers calls with a function; ``gate`` holds them back; every call is written down."""

    def __init__(self, decide: Decide) -> None:
        self.decide = decide
        self.calls: list[tuple[str, list[Envelope]]] = []
        self.gate = asyncio.Event()
        self.gate.set()

    async def call(self, name: str, packed: bytes) -> bytes:
        envelopes = [envelope for envelope, _ in CODEC.decode_commands(packed)]
        self.calls.append((name, envelopes))
        await self.gate.wait()
        return CODEC.encode_replies(self.decide(name, envelopes))


def enrolled(_name: str, envelopes: list[Envelope]) -> list[Reply]:
    """Everybody gets a seat; the enrolment id is the student's."""
    commands = [envelope.command for envelope in envelopes]
    return [Reply(Outcome(Code.ENROLLED, one.section_id, one.needs.student_id)) for one in commands]


def came_to(reply: Reply) -> Code | Undecided:
    """The code of its outcome, or why there is none: one of the two."""
    assert (reply.outcome is None) != (reply.undecided is None)
    return cast(Code | Undecided, reply.undecided if reply.outcome is None else reply.outcome.code)


def enrollment_ids(replies: Iterable[Reply]) -> list[int | None]:
    """Those of the outcomes, None where there is none."""
    return [None if reply.outcome is None else reply.outcome.enrollment_id for reply in replies]


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
        replies = await asyncio.gather(first, *rest)
    assert [len(envelopes) for _, envelopes in actors.calls] == [1, 48]
    assert enrollment_ids(replies) == list(range(1, 50))


async def in_flight(actors: ScriptedActors, way: Gateway, students: range) -> list[asyncio.Task[Reply]]:
    """Requests of these students, sent on as far as they are at once."""
    tasks = [asyncio.create_task(way.submit(enroll(student, 7))) for student in students]
    await asyncio.sleep(0.01)
    return tasks


def sizes(actors: ScriptedActors) -> list[int]:
    """Commands in each call."""
    return [len(envelopes) for _, envelopes in actors.calls]


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
            return CODEC.encode_replies(self.decide(name, [one for one, _ in CODEC.decode_commands(packed)]))
        return await super().call(name, packed)


async def test_a_call_that_hangs_does_not_keep_the_others_waiting() -> None:
    actors = FirstCallHangs(enrolled)
    actors.gate.clear()
    async with gateway(actors, calls_max=2) as way:
        lost = await in_flight(actors, way, range(100, 120))
        behind = await in_flight(actors, way, range(1, 20))
        assert not any(task.done() for task in behind)
        async with asyncio.timeout(1.0):
            replies = await asyncio.gather(*behind)
            for student in range(20, 60):  # and from now on there is a way past it, without a wait for each
                replies.append(await way.submit(enroll(student, 7)))
        assert {came_to(one) for one in replies} == {Code.ENROLLED}
        assert not any(task.done() for task in lost)
        actors.gate.set()
        assert {came_to(one) for one in await asyncio.gather(*lost)} == {Code.ENROLLED}


async def test_a_moved_section_is_followed_and_keeps_its_key() -> None:
    def decide(name: str, envelopes: list[Envelope]) -> list[Reply]:
        if name == "a":
            return [MOVED._replace(owner="b")] * len(envelopes)
        return enrolled(name, envelopes)

    actors = ScriptedActors(decide)
    async with gateway(actors) as way:
        reply = await way.submit(enroll(1, 7, key="mine"))
    assert came_to(reply) is Code.ENROLLED
    assert [name for name, _ in actors.calls] == ["a", "b"]
    assert actors.calls[0][1] == actors.calls[1][1]


async def test_a_lost_actor_is_asked_again_to_look_the_key_up() -> None:
    failures = 2

    def decide(name: str, envelopes: list[Envelope]) -> list[Reply]:
        nonlocal failures
        if failures:
            failures -= 1
            raise ActorLostError("gone")
        return enrolled(name, envelopes)

    actors = ScriptedActors(decide)
    async with gateway(actors) as way:
        reply = await way.submit(enroll(1, 7))
    assert came_to(reply) is Code.ENROLLED
    tries = [envelopes[0] for _, envelopes in actors.calls]
    assert isinstance(tries[0].command, Enroll)
    assert [one.maybe_tried for one in tries] == [False, True, True]
    assert {one.key for one in tries} == {tries[0].key}
    assert {one.command for one in tries} == {tries[0].command}


async def test_a_request_that_was_sent_and_not_answered_is_unknown_at_its_deadline() -> None:
    actors = ScriptedActors(enrolled)
    async with gateway(actors, deadline_s=0.2) as way:
        actors.gate.clear()
        sent = asyncio.create_task(way.submit(enroll(1, 7)))
        await asyncio.sleep(0.01)
        never_sent = asyncio.create_task(way.submit(enroll(2, 7)))
        assert came_to(await sent) is Undecided.UNKNOWN
        assert came_to(await never_sent) is Undecided.UNAVAILABLE
        actors.gate.set()
        await asyncio.sleep(0.05)
    sent_at_all = [one.command.needs.student_id for _, envelopes in actors.calls for one in envelopes]
    assert sent_at_all == [1], "what waited past its deadline has no effect later either"


async def test_an_actor_that_stays_lost_gives_unknown_at_the_deadline_not_later() -> None:
    def decide(_name: str, _envelopes: list[Envelope]) -> list[Reply]:
        raise ActorLostError("gone")

    async with gateway(ScriptedActors(decide), deadline_s=0.3) as way, asyncio.timeout(2):
        assert came_to(await way.submit(enroll(1, 7))) is Undecided.UNKNOWN


async def test_a_full_list_sheds_at_once_and_recovers() -> None:
    actors = ScriptedActors(enrolled)
    async with gateway(actors, pending_max=3) as way:
        actors.gate.clear()
        tasks = [asyncio.create_task(way.submit(enroll(student, 7))) for student in range(1, 11)]
        await asyncio.sleep(0.01)
        assert [came_to(task.result()) for task in tasks if task.done()] == [Undecided.OVERLOADED] * 7
        actors.gate.set()
        codes = [came_to(await task) for task in tasks]
        assert codes.count(Code.ENROLLED) == 3
        assert came_to(await way.submit(enroll(99, 7))) is Code.ENROLLED


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
    assert came_to(shed) is Undecided.OVERLOADED
    assert {came_to(one) for one in (*served, again)} == {Code.ENROLLED}
    sent = [one.key for _, envelopes in actors.calls for one in envelopes]
    assert len(sent) == 4
    assert "later" in sent


async def test_an_actor_that_is_lost_is_asked_a_few_times_whoever_asks() -> None:
    def lost(_name: str, _envelopes: list[Envelope]) -> list[Reply]:
        raise ActorLostError("gone")

    actors = ScriptedActors(lost)
    async with gateway(actors, deadline_s=1.0) as way:
        waiting = []
        for student in range(1, 301):
            waiting.append(asyncio.create_task(way.submit(enroll(student, 7))))
            await asyncio.sleep(0.001)
        replies = await asyncio.gather(*waiting)
        assert {came_to(one) for one in replies} <= {Undecided.UNKNOWN, Undecided.UNAVAILABLE}
        # 300 requests that each try about five times would be 1,500 calls.
        assert len(actors.calls) <= 20

        actors.decide = enrolled
        assert came_to(await way.submit(enroll(999, 7))) is Code.ENROLLED


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
        replies = [await first, *[await one for one in rest]]
    assert enrollment_ids(replies) == list(range(1, 302))
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
            replies = [await first, *[await one for one in rest]]
    codes = {came_to(one) for one in replies}
    assert codes == {Code.ENROLLED, Undecided.UNKNOWN}, "what was not told is unknown, never a failure"


async def test_closing_leaves_nobody_waiting() -> None:
    actors = ScriptedActors(enrolled)
    actors.gate.clear()
    async with gateway(actors) as way:
        tasks = [asyncio.create_task(way.submit(enroll(student, 7))) for student in (1, 2)]
        await asyncio.sleep(0.01)
        third = asyncio.create_task(way.submit(enroll(3, 7)))
        await asyncio.sleep(0)
    async with asyncio.timeout(1):
        codes = [came_to(await task) for task in (*tasks, third)]
    assert codes[0] is Undecided.UNKNOWN
    assert Code.ENROLLED not in codes


@pytest.mark.parametrize("names", [("a",), ()], ids=["an actor that hangs", "no actor"])
async def test_who_asks_again_when_told_of_a_deadline_does_not_end_the_deadlines(names: tuple[str, ...]) -> None:
    """As a connection does that has the client's next request already."""
    actors, told = ScriptedActors(enrolled), list[Reply]()
    async with gateway(actors, names, deadline_s=0.1) as way:
        actors.gate.clear()

        def tell(reply: Reply) -> None:
            told.append(reply)
            if len(told) <= 5:
                way.send(enroll(len(told), 7), tell)

        for student in range(100, 105):
            way.send(enroll(student, 7), tell)
            await asyncio.sleep(0)
        async with asyncio.timeout(2):
            assert came_to(await way.submit(enroll(200, 7))) is Undecided.UNAVAILABLE
            while len(told) < 10:
                await asyncio.sleep(0.01)
        actors.gate.set()


async def test_who_cannot_be_told_keeps_nobody_else_from_their_answer() -> None:
    actors, told = ScriptedActors(enrolled), list[Reply]()

    def fail(_reply: Reply) -> None:
        raise RuntimeError("a bug")

    async with gateway(actors) as way:
        for student in range(6):
            way.send(enroll(student, 7), told.append if student % 2 else fail)
        assert came_to(await way.submit(enroll(9, 7))) is Code.ENROLLED
    assert enrollment_ids(told) == [1, 3, 5]


def dropping(_name: str, envelopes: list[Envelope]) -> list[Reply]:
    """Drops are done, and concern the waitlists of sections 8 and 9; everything else changes."""
    return [
        Reply(Outcome(Code.DROPPED, 7, one.command.enrollment_id), recheck=(8, 9))
        if isinstance(one.command, Drop)
        else Reply(Outcome(Code.CHANGED, one.command.section_id))
        for one in envelopes
    ]


def rechecks(actors: ScriptedActors) -> list[Command]:
    """What was sent after the first call."""
    return [one.command for _, envelopes in actors.calls[1:] for one in envelopes]


async def test_a_drop_has_the_waitlists_that_it_may_unblock_looked_at() -> None:
    actors = ScriptedActors(dropping)
    async with gateway(actors) as way:
        reply = await way.submit(drop(1, 7, 100))
        await asyncio.sleep(0.01)
    assert came_to(reply) is Code.DROPPED
    assert rechecks(actors) == [RecheckHead(8, 1), RecheckHead(9, 1)]


async def test_waitlists_are_looked_at_even_if_nobody_waits_for_the_drop_any_more() -> None:
    actors = ScriptedActors(dropping)
    async with gateway(actors) as way:
        actors.gate.clear()
        waiting = asyncio.create_task(way.submit(drop(1, 7, 100)))
        await asyncio.sleep(0.01)
        waiting.cancel()
        await asyncio.sleep(0)
        actors.gate.set()
        await asyncio.sleep(0.01)
    assert rechecks(actors) == [RecheckHead(8, 1), RecheckHead(9, 1)]


async def test_that_a_waitlist_could_not_be_looked_at_disturbs_nobody(caplog: pytest.LogCaptureFixture) -> None:
    def decide(name: str, envelopes: list[Envelope]) -> list[Reply]:
        if any(isinstance(one.command, RecheckHead) for one in envelopes):
            raise ActorLostError("gone")
        return dropping(name, envelopes)

    actors = ScriptedActors(decide)
    async with gateway(actors) as way, asyncio.timeout(2):
        assert came_to(await way.submit(drop(1, 7, 100))) is Code.DROPPED
        while len(actors.calls) < 2:
            await asyncio.sleep(0)
        assert came_to(await way.submit(drop(2, 7, 200))) is Code.DROPPED
        assert way.waiting == 0
    sent = [one.command for _, envelopes in actors.calls for one in envelopes if isinstance(one.command, RecheckHead)]
    assert len(sent) == len(set(sent)), "what has no key is not sent twice"
    assert not [record for record in caplog.records if record.levelname == "ERROR"]


async def test_rubbish_from_an_actor_is_no_answer() -> None:
    class Rubbish(ScriptedActors):
        async def call(self, name: str, packed: bytes) -> bytes:
            return b"\xc1 rubbish"

    async with gateway(Rubbish(enrolled), deadline_s=0.2) as way:
        assert came_to(await way.submit(enroll(1, 7))) is Undecided.UNKNOWN


def test_rendezvous_moves_only_what_must() -> None:
    two = Directory(DirectoryView(0, Placement.POOLED, ("a", "b")))
    three = Directory(DirectoryView(0, Placement.POOLED, ("a", "b", "c")))
    moved = [one for one in range(3000) if two.owner(one) != three.owner(one)]
    assert all(three.owner(one) == "c" for one in moved)
    assert 800 < len(moved) < 1200
    assert Directory(DirectoryView(0, Placement.DEDICATED, ())).owner(42) == "section-42"


def test_what_is_packed_comes_out_again() -> None:
    batch = [(enroll(1, 2, key="ü"), 1.5), (drop(1, 2, 3), 0.0), (Envelope(capacity(4, 5)), 2.0)]
    assert CODEC.decode_commands(CODEC.encode_commands(batch)) == batch


@pytest.mark.parametrize("packed", [b"", b"\x00", b"\x91\x93\x63\xcb", b"\x91\x93\x63\x01\x90", b"\xff" * 100])
def test_what_is_no_batch_is_refused(packed: bytes) -> None:
    with pytest.raises(WireError):
        CODEC.decode_commands(packed)
