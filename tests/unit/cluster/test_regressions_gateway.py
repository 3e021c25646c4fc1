"""Regression tests of the gateway, for errors that a review found: wrong certainty, and requests without an answer."""

from __future__ import annotations

import asyncio

import pytest

from allocator.model.commands import Enroll
from allocator.model.delivery import OVERLOADED, UNAVAILABLE, UNKNOWN, Envelope, Reply, Undecided
from allocator.model.outcomes import Code
from cluster.config.settings import Placement
from cluster.gateway.directory import OWNERS_KEPT_MAX, Directory, DirectoryView
from cluster.gateway.errors import ActorLostError
from cluster.gateway.gateway import Gateway, GatewayLimits
from tests.drain_loop import capacity, enroll
from tests.unit.cluster.test_gateway import CODEC, ScriptedActors, came_to, enrolled, gateway


@pytest.mark.parametrize("reply", [UNAVAILABLE, OVERLOADED], ids=lambda reply: reply.code.value)
async def test_that_a_second_try_had_no_effect_says_nothing_of_the_first(reply: Reply) -> None:
    actors = ScriptedActors(enrolled)

    def decide(_name: str, envelopes: list[Envelope]) -> list[Reply]:
        if len(actors.calls) == 1:
            raise ActorLostError("killed after COMMIT, before its answer")
        return [reply] * len(envelopes)

    actors.decide = decide
    async with gateway(actors) as way:
        assert came_to(await way.submit(enroll(1, 7))) is Undecided.UNKNOWN


async def test_what_an_actor_does_not_know_is_looked_up_while_there_is_time() -> None:
    actors = ScriptedActors(enrolled)

    def decide(name: str, envelopes: list[Envelope]) -> list[Reply]:
        if len(actors.calls) == 1:
            return [UNKNOWN] * len(envelopes)
        return enrolled(name, envelopes)

    actors.decide = decide
    async with gateway(actors) as way:
        assert came_to(await way.submit(enroll(1, 7))) is Code.ENROLLED
    (again,) = actors.calls[1][1]
    assert isinstance(again.command, Enroll)
    assert again.maybe_tried


async def test_what_has_no_key_is_not_sent_twice() -> None:
    """A late first try of "capacity 5" after somebody's "capacity 2" would be undone by nobody."""
    actors = ScriptedActors(enrolled)

    def decide(_name: str, _envelopes: list[Envelope]) -> list[Reply]:
        raise ActorLostError("no answer")

    actors.decide = decide
    async with gateway(actors) as way:
        assert came_to(await way.submit(Envelope(capacity(7, 5)))) is Undecided.UNKNOWN
    assert len(actors.calls) == 1


async def test_too_few_outcomes_are_no_answer_and_nobody_is_given_anothers() -> None:
    actors = ScriptedActors(enrolled)

    def decide(name: str, envelopes: list[Envelope]) -> list[Reply]:
        return enrolled(name, envelopes)[1:] if len(envelopes) > 1 else enrolled(name, envelopes)

    actors.decide = decide
    async with gateway(actors, deadline_s=0.5) as way, asyncio.timeout(2):
        actors.gate.clear()
        tasks = [asyncio.create_task(way.submit(enroll(student, 7))) for student in (1, 2, 3)]
        await asyncio.sleep(0.01)
        actors.gate.set()
        assert {came_to(await task) for task in tasks} == {Undecided.UNKNOWN}


async def test_a_command_that_cannot_be_packed_leaves_nobody_waiting() -> None:
    async with gateway(ScriptedActors(enrolled)) as way, asyncio.timeout(2):
        monster = asyncio.create_task(way.submit(enroll(2**70, 7)))
        assert came_to(await monster) is Undecided.UNAVAILABLE
        assert came_to(await way.submit(enroll(1, 7))) is Code.ENROLLED


async def test_a_call_that_fails_in_a_way_that_nobody_foresaw_does_not_stop_the_lane() -> None:
    actors = ScriptedActors(enrolled)

    def decide(name: str, envelopes: list[Envelope]) -> list[Reply]:
        if len(actors.calls) == 1:
            raise RuntimeError("a bug")
        return enrolled(name, envelopes)

    actors.decide = decide
    async with gateway(actors) as way, asyncio.timeout(2):
        actors.gate.clear()
        first = asyncio.create_task(way.submit(enroll(1, 7)))
        await asyncio.sleep(0.01)
        second = asyncio.create_task(way.submit(enroll(2, 7)))
        await asyncio.sleep(0)
        actors.gate.set()
        assert came_to(await first) is Undecided.UNKNOWN
        assert came_to(await second) is Code.ENROLLED


async def test_closing_in_the_moment_of_a_retry_leaves_nobody_waiting_and_sends_nothing_more() -> None:
    calls = 0
    closing: list[asyncio.Task[None]] = []

    async def call(_name: str, _packed: bytes) -> bytes:
        nonlocal calls
        calls += 1
        # It wakes up after the retry was planned, but before the plan had its first moment.
        asyncio.get_running_loop().call_soon(lambda: closing.append(asyncio.create_task(opened.close())))
        raise ActorLostError("gone")

    opened = Gateway(Directory(DirectoryView(0, Placement.POOLED, ("a",))), call, GatewayLimits())
    async with asyncio.timeout(2):
        assert came_to(await opened.submit(enroll(1, 7))) is Undecided.UNKNOWN
        await closing[0]
        await asyncio.sleep(0.2)
    assert calls == 1


async def test_closing_while_a_large_batch_is_being_told_leaves_nobody_waiting() -> None:
    actors = ScriptedActors(enrolled)
    actors.gate.clear()
    async with gateway(actors) as way, asyncio.timeout(2):
        tasks = [asyncio.create_task(way.submit(enroll(student, 7))) for student in range(200)]
        await asyncio.sleep(0.01)
        actors.gate.set()
        while not any(task.done() for task in tasks):
            await asyncio.sleep(0)
        await way.close()
        assert {came_to(await task) for task in tasks} <= {Code.ENROLLED, Undecided.UNKNOWN, Undecided.UNAVAILABLE}


async def test_a_short_deadline_leaves_the_actor_time_to_decide() -> None:
    budgets: list[float] = []

    async def call(_name: str, packed: bytes) -> bytes:
        wanted = CODEC.decode_commands(packed)
        budgets.extend(budget_s for _, budget_s in wanted)
        return CODEC.encode_replies(enrolled("", [envelope for envelope, _ in wanted]))

    opened = Gateway(Directory(DirectoryView(0, Placement.POOLED, ("a",))), call, GatewayLimits(deadline_s=0.15))
    await opened.submit(enroll(1, 7))
    await opened.close()
    assert 0.05 < budgets[0] < 0.15


def test_sections_that_clients_make_up_do_not_fill_the_memory() -> None:
    directory = Directory(DirectoryView(0, Placement.DEDICATED, ()))
    for section_id in range(OWNERS_KEPT_MAX * 2):
        directory.owner(section_id)
    assert len(directory._owners) <= OWNERS_KEPT_MAX
