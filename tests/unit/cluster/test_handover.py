"""The steps of a handover, over actors that answer, hang or are gone."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence

import pytest

from cluster.gateway.errors import ActorLostError
from cluster.gateway.handover import hand_over


class Actors:
    """Write down what is asked of whom; some answer never, some are gone."""

    def __init__(self, *, hang: tuple[str, ...] = (), gone: tuple[str, ...] = ()) -> None:
        self.hang = hang
        self.gone = gone
        self.steps: list[tuple[str, str, list[int]]] = []

    async def hand_over(self, name: str, moves: Mapping[int, str]) -> int:
        self.steps.append(("hand over", name, list(moves)))
        await self._answer(name)
        return len(moves)

    async def take(self, name: str, section_ids: Sequence[int]) -> int:
        self.steps.append(("take", name, list(section_ids)))
        await self._answer(name)
        return len(section_ids)

    async def _answer(self, name: str) -> None:
        await asyncio.sleep(0)
        if name in self.gone:
            raise ActorLostError(name)
        if name in self.hang:
            await asyncio.get_running_loop().create_future()

    def steps_of(self, *section_ids: int) -> list[tuple[str, str]]:
        return [(step, name) for step, name, some in self.steps if set(some) & set(section_ids)]


async def test_the_old_owner_lets_go_before_the_new_one_takes_a_portion_at_a_time() -> None:
    actors = Actors()
    done = await hand_over({"a": dict.fromkeys(range(1, 6), "b")}, actors.hand_over, actors.take, portion=2)
    assert actors.steps == [
        ("hand over", "a", [1, 2]),
        ("take", "b", [1, 2]),
        ("hand over", "a", [3, 4]),
        ("take", "b", [3, 4]),
        ("hand over", "a", [5]),
        ("take", "b", [5]),
    ]
    assert (done.handed, done.taken, done.silent) == (5, 5, set())


async def test_pairs_go_side_by_side_and_what_stays_is_not_asked_for() -> None:
    actors = Actors()
    done = await hand_over({"a": {1: "b", 2: "c", 3: "a"}, "b": {4: "c"}}, actors.hand_over, actors.take)
    assert actors.steps_of(1) == [("hand over", "a"), ("take", "b")]
    assert actors.steps_of(2) == [("hand over", "a"), ("take", "c")]
    assert actors.steps_of(4) == [("hand over", "b"), ("take", "c")]
    assert actors.steps_of(3) == []
    assert done.taken == 3


@pytest.mark.parametrize("kind", ["hang", "gone"])
async def test_an_old_owner_that_is_silent_is_asked_once_and_its_sections_are_taken(kind: str) -> None:
    actors = Actors(**{kind: ("a",)})
    moves = {"a": dict.fromkeys((1, 2, 3), "b"), "c": {4: "b"}}
    async with asyncio.timeout(2):
        done = await hand_over(moves, actors.hand_over, actors.take, portion=1, timeout_s=0.05)
    assert actors.steps_of(1, 2, 3).count(("hand over", "a")) == 1
    assert [step for step in actors.steps if step[:2] == ("take", "b")] != []
    assert (done.handed, done.taken, done.silent) == (1, 4, {"a"})


@pytest.mark.parametrize("kind", ["hang", "gone"])
async def test_nothing_more_is_taken_from_the_old_owner_for_a_new_one_that_is_silent(kind: str) -> None:
    actors = Actors(**{kind: ("b",)})
    async with asyncio.timeout(2):
        done = await hand_over(
            {"a": {1: "b", 2: "b", 3: "c"}}, actors.hand_over, actors.take, portion=1, timeout_s=0.05
        )
    assert actors.steps_of(2) == []
    assert actors.steps_of(3) == [("hand over", "a"), ("take", "c")]
    assert (done.taken, done.silent) == (1, {"b"})


async def test_one_that_hangs_does_not_hold_up_the_others() -> None:
    actors = Actors(hang=("a",))
    work = asyncio.create_task(hand_over({"a": {1: "b"}, "c": {2: "d"}}, actors.hand_over, actors.take, timeout_s=60.0))
    async with asyncio.timeout(2):
        while ("take", "d") not in actors.steps_of(2):
            await asyncio.sleep(0)
    work.cancel()
    with pytest.raises(asyncio.CancelledError):
        await work


async def test_a_bug_is_not_taken_for_silence() -> None:
    async def take(_name: str, _section_ids: Sequence[int]) -> int:
        raise KeyError("a bug")

    with pytest.raises(ExceptionGroup):
        await hand_over({"a": {1: "b"}}, Actors().hand_over, take)


async def test_nothing_to_move_is_no_work() -> None:
    actors = Actors()
    assert (await hand_over({"a": {}}, actors.hand_over, actors.take)).taken == 0
    assert actors.steps == []
