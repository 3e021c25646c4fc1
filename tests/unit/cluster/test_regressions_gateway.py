"""Regression tests of the gateway, for errors that a review found: wrong certainty, and requests without an answer."""

from __future__ import annotations

import asyncio

import pytest

from allocator.model.commands import Command, Enroll
from allocator.model.outcomes import Code, Outcome
from cluster.config.settings import Placement
from cluster.gateway.directory import OWNERS_KEPT_MAX, Directory, DirectoryView
from cluster.gateway.gateway import ActorLostError, Gateway, GatewayLimits
from tests.drain_loop import capacity, enroll
from tests.unit.cluster.test_gateway import CODEC, ScriptedActors, enrolled, gateway


@pytest.mark.parametrize("code", [Code.UNAVAILABLE, Code.OVERLOADED])
async def test_that_a_second_try_had_no_effect_says_nothing_of_the_first(code: Code) -> None:
    actors = ScriptedActors(enrolled)

    def decide(_name: str, commands: list[Command]) -> list[Outcome]:
        if len(actors.calls) == 1:
            raise ActorLostError("killed after COMMIT, before its answer")
        return [Outcome(code, one.section_id) for one in commands]

    actors.decide = decide
    async with gateway(actors) as way:
        assert (await way.submit(enroll(1, 7))).code is Code.UNKNOWN


async def test_what_an_actor_does_not_know_is_looked_up_while_there_is_time() -> None:
    actors = ScriptedActors(enrolled)

    def decide(name: str, commands: list[Command]) -> list[Outcome]:
        if len(actors.calls) == 1:
            return [Outcome(Code.UNKNOWN, one.section_id) for one in commands]
        return enrolled(name, commands)

    actors.decide = decide
    async with gateway(actors) as way:
        assert (await way.submit(enroll(1, 7))).code is Code.ENROLLED
    (again,) = actors.calls[1][1]
    assert isinstance(again, Enroll)
    assert again.maybe_tried


async def test_what_has_no_key_is_not_sent_twice() -> None:
    """A late first try of "capacity 5" after somebody's "capacity 2" would be undone by nobody."""
    actors = ScriptedActors(enrolled)

    def decide(_name: str, _commands: list[Command]) -> list[Outcome]:
        raise ActorLostError("no answer")

    actors.decide = decide
    async with gateway(actors) as way:
        assert (await way.submit(capacity(7, 5))).code is Code.UNKNOWN
    assert len(actors.calls) == 1


async def test_too_few_outcomes_are_no_answer_and_nobody_is_given_anothers() -> None:
    actors = ScriptedActors(enrolled)

    def decide(name: str, commands: list[Command]) -> list[Outcome]:
        return enrolled(name, commands)[1:] if len(commands) > 1 else enrolled(name, commands)

    actors.decide = decide
    async with gateway(actors, deadline_s=0.5) as way, asyncio.timeout(2):
        actors.gate.clear()
        tasks = [asyncio.create_task(way.submit(enroll(student, 7))) for student in (1, 2, 3)]
        await asyncio.sleep(0.01)
        actors.gate.set()
        assert {(await task).code for task in tasks} == {Code.UNKNOWN}


async def test_a_command_that_cannot_be_packed_leaves_nobody_waiting() -> None:
    async with gateway(ScriptedActors(enrolled)) as way, asyncio.timeout(2):
        monster = asyncio.create_task(way.submit(enroll(2**70, 7)))
        assert (await monster).code is Code.UNAVAILABLE
        assert (await way.submit(enroll(1, 7))).code is Code.ENROLLED


async def test_a_call_that_fails_in_a_way_that_nobody_foresaw_does_not_stop_the_lane() -> None:
    actors = ScriptedActors(enrolled)

    def decide(name: str, commands: list[Command]) -> list[Outcome]:
        if len(actors.calls) == 1:
            raise RuntimeError("a bug")
        return enrolled(name, commands)

    actors.decide = decide
    async with gateway(actors) as way, asyncio.timeout(2):
        actors.gate.clear()
        first = asyncio.create_task(way.submit(enroll(1, 7)))
        await asyncio.sleep(0.01)
        second = asyncio.create_task(way.submit(enroll(2, 7)))
        await asyncio.sleep(0)
        actors.gate.set()
        assert (await first).code is Code.UNKNOWN
        assert (await second).code is Code.ENROLLED


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
        assert (await opened.submit(enroll(1, 7))).code is Code.UNKNOWN
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
        assert {(await task).code for task in tasks} <= {Code.ENROLLED, Code.UNKNOWN, Code.UNAVAILABLE}


async def test_a_short_deadline_leaves_the_actor_time_to_decide() -> None:
    budgets: list[float] = []

    async def call(_name: str, packed: bytes) -> bytes:
        commands = CODEC.decode_commands(packed)
        budgets.extend(budget_s for _, budget_s in commands)
        return CODEC.encode_outcomes(enrolled("", [command for command, _ in commands]))

    opened = Gateway(Directory(DirectoryView(0, Placement.POOLED, ("a",))), call, GatewayLimits(deadline_s=0.15))
    await opened.submit(enroll(1, 7))
    await opened.close()
    assert 0.05 < budgets[0] < 0.15


def test_sections_that_clients_make_up_do_not_fill_the_memory() -> None:
    directory = Directory(DirectoryView(0, Placement.DEDICATED, ()))
    for section_id in range(OWNERS_KEPT_MAX * 2):
        directory.owner(section_id)
    assert len(directory._owners) <= OWNERS_KEPT_MAX
