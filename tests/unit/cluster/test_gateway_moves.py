"""The gateway while the directory changes: no request is refused, and none is forwarded in circles."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import replace

from allocator.model.delivery import MOVED, Envelope, Reply, Undecided
from allocator.model.outcomes import Code, Outcome
from cluster.config.settings import Placement
from cluster.gateway.directory import Directory, DirectoryView
from cluster.gateway.errors import ActorAbsentError
from cluster.gateway.gateway import Gateway, GatewayLimits
from tests.drain_loop import capacity, enroll
from tests.unit.cluster.test_gateway import ScriptedActors, came_to, enrolled

A_ONLY = DirectoryView(1, Placement.AUTO, ("a",))
B_ONLY = DirectoryView(2, Placement.AUTO, ("b",))


@contextlib.asynccontextmanager
async def gateway(
    actors: ScriptedActors, view: DirectoryView, **limits: float
) -> AsyncIterator[tuple[Gateway, Directory]]:
    """A gateway and the directory that it goes by."""
    directory = Directory(view)
    opened = Gateway(directory, actors.call, GatewayLimits(**{"calls_max": 1, **limits}))  # type: ignore[arg-type]
    yield opened, directory
    await opened.close()


def change(way: Gateway, directory: Directory, view: DirectoryView) -> None:
    """What every API process does with a new view."""
    assert directory.update(view)
    way.directory_changed()


def moved_to(**owners: str) -> ScriptedActors:
    """Actors that say that everything is with another; those that are not named decide."""

    def decide(name: str, envelopes: list[Envelope]) -> list[Reply]:
        if name in owners:
            return [MOVED._replace(owner=owners[name])] * len(envelopes)
        return enrolled(name, envelopes)

    return ScriptedActors(decide)


async def test_what_waits_goes_to_the_new_owner_and_what_is_under_way_goes_on() -> None:
    actors = ScriptedActors(enrolled)
    async with gateway(actors, A_ONLY) as (way, directory):
        actors.gate.clear()
        first = asyncio.create_task(way.submit(enroll(1, 7)))
        await asyncio.sleep(0.01)
        rest = [asyncio.create_task(way.submit(enroll(student, 7))) for student in (2, 3)]
        await asyncio.sleep(0.01)
        change(way, directory, B_ONLY)
        await asyncio.sleep(0.01)
        actors.gate.set()
        assert {came_to(await task) for task in (first, *rest)} == {Code.ENROLLED}
    assert [(name, len(envelopes)) for name, envelopes in actors.calls] == [("a", 1), ("b", 2)]


async def test_what_is_sent_on_is_not_turned_away_however_much_it_is() -> None:
    actors = ScriptedActors(enrolled)
    two = DirectoryView(1, Placement.AUTO, (), {1: "a", 2: "b"})
    async with gateway(actors, two, pending_max=20, batch_max=1) as (way, directory):
        actors.gate.clear()
        tasks = [asyncio.create_task(way.submit(enroll(student, 1 + student % 2))) for student in range(40)]
        await asyncio.sleep(0.01)
        change(way, directory, B_ONLY)
        await asyncio.sleep(0.01)
        actors.gate.set()
        assert [came_to(await task) for task in tasks] == [Code.ENROLLED] * 40


async def test_without_any_actor_requests_wait_and_leave_with_the_next_view() -> None:
    actors = ScriptedActors(enrolled)
    async with gateway(actors, replace(A_ONLY, pooled=())) as (way, directory):
        waiting = [asyncio.create_task(way.submit(enroll(student, 7))) for student in range(10)]
        await asyncio.sleep(0.01)
        assert (actors.calls, way.waiting) == ([], 10)
        change(way, directory, B_ONLY)
        assert {came_to(await task) for task in waiting} == {Code.ENROLLED}
    assert [name for name, _ in actors.calls] == ["b"]


async def test_without_any_actor_for_too_long_a_request_had_no_effect_and_is_not_kept() -> None:
    actors = ScriptedActors(enrolled)
    async with gateway(actors, replace(A_ONLY, pooled=()), deadline_s=0.1) as (way, directory):
        replies = await asyncio.gather(*(way.submit(enroll(student, 7)) for student in range(10)))
        assert {came_to(one) for one in replies} == {Undecided.UNAVAILABLE}
        assert way.waiting == 0
        change(way, directory, B_ONLY)
        await asyncio.sleep(0.02)
    assert actors.calls == []


async def test_closing_answers_who_waits_for_any_actor() -> None:
    async with gateway(ScriptedActors(enrolled), replace(A_ONLY, pooled=())) as (way, _), asyncio.timeout(2):
        waiting = asyncio.create_task(way.submit(enroll(1, 7)))
        await asyncio.sleep(0.01)
        await way.close()
        assert came_to(await waiting) is Undecided.UNAVAILABLE


async def test_in_the_middle_of_a_handover_a_request_is_served_without_a_pause() -> None:
    """The new owner has no lease yet, the old one has just let go: there, back, and there again."""
    hops = 0

    def decide(name: str, envelopes: list[Envelope]) -> list[Reply]:
        nonlocal hops
        hops += 1
        if hops <= 2:
            owner = {"a": "b", "b": "a"}[name]
            return [MOVED._replace(owner=owner)] * len(envelopes)
        return enrolled(name, envelopes)

    actors = ScriptedActors(decide)
    async with gateway(actors, B_ONLY) as (way, _):
        for _ in range(20):
            hops = 0
            assert came_to(await way.submit(enroll(1, 7))) is Code.ENROLLED
            assert not way._conclusion.paused
    assert [name for name, _ in actors.calls] == ["b", "a", "b"] * 20


async def test_two_that_name_each_other_do_not_keep_a_request_from_where_the_directory_says() -> None:
    actors = moved_to(a="b", b="a")
    async with gateway(actors, A_ONLY) as (way, directory):
        waiting = asyncio.create_task(way.submit(enroll(1, 7)))
        await asyncio.sleep(0.05)
        change(way, directory, DirectoryView(2, Placement.AUTO, ("c",)))
        assert came_to(await waiting) is Code.ENROLLED
    assert actors.calls[-1][0] == "c"


async def test_two_that_name_each_other_are_asked_ever_more_rarely() -> None:
    actors = moved_to(a="b", b="a")
    async with gateway(actors, A_ONLY, deadline_s=1.0) as (way, _), asyncio.timeout(3):
        assert came_to(await way.submit(enroll(1, 7))) is Undecided.UNAVAILABLE
    assert len(actors.calls) < 15


async def test_an_actor_that_stopped_is_asked_again_only_where_the_directory_still_names_it() -> None:
    def decide(name: str, envelopes: list[Envelope]) -> list[Reply]:
        if name == "a":
            return [MOVED] * len(envelopes)
        return enrolled(name, envelopes)

    actors = ScriptedActors(decide)
    async with gateway(actors, A_ONLY) as (way, directory):
        waiting = asyncio.create_task(way.submit(enroll(1, 7)))
        await asyncio.sleep(0.05)
        assert not waiting.done()
        change(way, directory, B_ONLY)
        assert came_to(await waiting) is Code.ENROLLED
        calls = len(actors.calls)
        assert came_to(await way.submit(enroll(2, 7))) is Code.ENROLLED
    assert [name for name, _ in actors.calls[calls:]] == ["b"]


async def test_what_was_never_sent_is_not_in_doubt() -> None:
    """So that even what has no key, and may not be sent twice, finds its way past an actor that is gone."""

    def decide(name: str, envelopes: list[Envelope]) -> list[Reply]:
        if name == "a":
            raise ActorAbsentError("nobody of this name")
        return [Reply(Outcome(Code.CHANGED, one.command.section_id)) for one in envelopes]

    actors = ScriptedActors(decide)
    async with gateway(actors, A_ONLY) as (way, directory):
        waiting = asyncio.create_task(way.submit(Envelope(capacity(7, 5))))
        await asyncio.sleep(0.02)
        change(way, directory, B_ONLY)
        assert came_to(await waiting) is Code.CHANGED


async def test_an_actor_that_is_never_found_had_no_effect() -> None:
    def decide(_name: str, _envelopes: list[Envelope]) -> list[Reply]:
        raise ActorAbsentError("nobody of this name")

    async with gateway(ScriptedActors(decide), A_ONLY, deadline_s=0.2) as (way, _):
        assert came_to(await way.submit(Envelope(capacity(7, 5)))) is Undecided.UNAVAILABLE
        assert came_to(await way.submit(enroll(1, 7))) is Undecided.UNAVAILABLE


async def test_lanes_of_actors_that_left_are_not_kept() -> None:
    actors = ScriptedActors(enrolled)
    async with gateway(actors, A_ONLY) as (way, directory):
        for version in range(2, 200):
            view = DirectoryView(version, Placement.AUTO, (f"actor-{version}",), {7: f"section-{version}"})
            change(way, directory, view)
            for section_id in (6, 7):
                assert came_to(await way.submit(enroll(1, section_id))) is Code.ENROLLED
            assert len(way._lanes) <= 4
        change(way, directory, DirectoryView(1000, Placement.AUTO, ("actor-199",)))
        assert set(way._lanes) == {"actor-199"}


async def test_a_lane_that_is_at_work_outlives_its_actors_leaving() -> None:
    actors = ScriptedActors(enrolled)
    async with gateway(actors, A_ONLY) as (way, directory):
        actors.gate.clear()
        waiting = asyncio.create_task(way.submit(enroll(1, 7)))
        await asyncio.sleep(0.01)
        change(way, directory, B_ONLY)
        actors.gate.set()
        assert came_to(await waiting) is Code.ENROLLED
        change(way, directory, replace(B_ONLY, version=3))
        assert "a" not in way._lanes
