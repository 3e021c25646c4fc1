"""Regression tests, for errors that a review found around actors: exits, stale handles, errors without a message."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
import ray
import ray.exceptions

from allocator.actor import Host, SectionActor
from allocator.model.outcomes import Code
from allocator.turns.service import Limits
from cluster.config.settings import ConfigurationError, read_settings
from cluster.gateway.errors import ActorLostError
from cluster.gateway.ray_actors import RayActors
from cluster.gateway.wire import WireCodec
from cluster.processes.calls import call_until_answered
from cluster.processes.section_host import HostFactory
from persistence.names import ENROLLMENT_ID_BLOCK
from persistence.queries.known_sections import KnownSections
from tests.drain_loop import enroll, make_service
from tests.sample_campus import MemoryWorld
from tests.unit.cluster.test_gateway import came_to

CODEC = WireCodec()
FACTORY = HostFactory("postgresql://none", "redis://none", 5000, Limits(), "INFO")


async def test_an_idle_actor_whose_exit_fails_goes_on_serving(monkeypatch: pytest.MonkeyPatch) -> None:
    world = MemoryWorld()
    section_id, students = await world.add_section(5), [await world.add_student() for _ in range(2)]
    exits: list[object] = []
    monkeypatch.setattr(ray, "kill", exits.append)  # with the GCS down, nothing happens
    monkeypatch.setattr(ray, "get_runtime_context", lambda: type("Context", (), {"current_actor": "me"}))

    async def build(name: str, incarnation: str) -> Host:
        async def close() -> None:
            pass

        return Host(make_service(world.store(), f"{name}|{incarnation}"), CODEC, close)

    actor = SectionActor("section-1", build, idle_exit_s=0.05)
    async with asyncio.timeout(3):
        for student_id in students:
            packed = CODEC.encode_commands([(enroll(student_id, section_id), 2.0)])
            (reply,) = CODEC.decode_replies(await actor.submit(packed))
            assert came_to(reply) is Code.ENROLLED
            exited = len(exits)
            while len(exits) == exited:
                await asyncio.sleep(0.01)
    await actor.stop()


class Method:
    """A remote method that fails, or answers."""

    def __init__(self, answer: object) -> None:
        self.answer = answer
        self.calls = 0

    async def remote(self, *_arguments: object) -> Any:
        self.calls += 1
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer


class Handle:
    """An actor as its callers see it."""

    def __init__(self, answer: object) -> None:
        self.submit = self.stats = Method(answer)


def actors_with(handles: dict[str, Handle]) -> RayActors:
    """RayActors that find these, and no others."""

    def look_up(name: str) -> Handle:
        if name not in handles:
            raise ValueError(name)
        return handles[name]

    actors = RayActors(FACTORY, KnownSections(FACTORY.database_url), idle_exit_s=1.0)
    actors._look_up = look_up  # type: ignore[method-assign]
    actors._sections = Catalogue()  # type: ignore[assignment]
    return actors


class Catalogue:
    """Has the sections below 100."""

    async def includes(self, section_id: int) -> bool:
        return section_id < 100

    def close(self) -> None:
        pass


async def test_no_process_is_started_for_what_is_no_section() -> None:
    made_up = Handle(b"started")
    actors = actors_with({"section-100": made_up})
    (reply,) = CODEC.decode_replies(await actors.call("section-100", CODEC.encode_commands([(enroll(1, 100), 1.0)])))
    assert (came_to(reply), made_up.submit.calls) == (Code.NOT_FOUND, 0)
    actors.close()


async def test_an_error_without_a_word_is_a_lost_actor_too() -> None:
    class WordlessError(ray.exceptions.RayError):
        pass

    actors = actors_with({"a": Handle(WordlessError())})
    with pytest.raises(ActorLostError):
        await actors.call("a", b"")
    actors.close()


async def test_one_actor_that_is_gone_does_not_hide_the_figures_of_the_others() -> None:
    actors = actors_with({"a": Handle({"actor": "a"})})
    assert await actors.stats(("gone", "a")) == [{"actor": "a"}]
    actors.close()


async def test_actors_that_died_are_not_asked_for_figures_for_ever() -> None:
    dead = Handle(ray.exceptions.ActorDiedError())
    actors = actors_with({"section-7": dead})
    with pytest.raises(ActorLostError):
        await actors.call("section-7", b"")
    dead.submit.answer = b"back"
    await actors.call("section-7", b"")
    dead.stats.answer = ray.exceptions.ActorDiedError()
    calls = dead.stats.calls
    for _ in range(3):
        assert await actors.stats(()) == []
    assert dead.stats.calls == calls + 1
    actors.close()


def test_a_turn_never_needs_more_ids_than_a_block_has() -> None:
    with pytest.raises(ConfigurationError):
        read_settings(batch_max=ENROLLMENT_ID_BLOCK + 1)


async def test_a_start_outlives_calls_to_the_controller_that_are_lost_on_their_way() -> None:
    answers: list[Any] = [_unavailable(), _unavailable(), 8080]

    async def call() -> Any:
        answer = answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    assert await call_until_answered(call, 5.0) == 8080
    assert not answers


async def test_a_controller_that_is_dead_or_stays_away_is_not_asked_for_ever() -> None:
    async def lost() -> None:
        raise _unavailable()

    async def dead() -> None:
        raise ray.exceptions.ActorDiedError

    with pytest.raises(TimeoutError):
        await call_until_answered(lost, 0.3)
    with pytest.raises(ray.exceptions.ActorDiedError):
        await call_until_answered(dead, 5.0)


def _unavailable() -> ray.exceptions.ActorUnavailableError:
    return ray.exceptions.ActorUnavailableError("the connection broke", None)
