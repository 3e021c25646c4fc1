"""Batched reads: few statements for many callers, and no caller gets a read that began before it came."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Mapping, Sequence

import pytest

from allocator.ports import StoreUnavailableError
from persistence.queries.gathered_reads import KEYS_MAX, READS_MAX, GatheredReads


class Table:
    """Counts by key in Postgres; a read ends when it is told to."""

    def __init__(self) -> None:
        self.counts = dict.fromkeys(range(1_000), 0)
        self.reads: list[tuple[list[int], asyncio.Future[None]]] = []
        self.gathered = GatheredReads(self.read)

    async def read(self, keys: Sequence[int]) -> Mapping[int, int]:
        """A snapshot, given later."""
        found = {key: self.counts[key] for key in keys if key in self.counts}
        ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.reads.append((list(keys), ended))
        await ended
        return found

    async def end(self, number: int) -> None:
        """Let a read end."""
        self.reads[number][1].set_result(None)
        await asyncio.sleep(0)

    def ask(self, key: int) -> asyncio.Task[int | None]:
        """Somebody wants to know."""
        return asyncio.create_task(self.gathered.get(key))


async def step() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


async def test_who_comes_while_reads_are_under_way_shares_the_next_one() -> None:
    table = Table()
    table.counts.update({1: 10, 2: 20, 3: 30, 4: 40})
    asking = [table.ask(key) for key in (1, 2, 3, 4, 3, 1)]
    await step()
    assert [ids for ids, _ in table.reads] == [[1], [2]]
    await table.end(0)
    await step()
    assert [ids for ids, _ in table.reads] == [[1], [2], [3, 4, 1]]
    await table.end(1)
    await table.end(2)
    await step()
    assert [await task for task in asking] == [10, 20, 30, 40, 30, 10]
    assert len(table.reads) == 3


async def test_nobody_is_given_what_was_read_before_they_came() -> None:
    table = Table()
    early = table.ask(1)
    await step()
    table.counts[1] = 7
    late = table.ask(1)
    await step()
    await table.end(0)
    await table.end(1)
    assert (await early, await late) == (0, 7)


async def test_an_error_reaches_all_of_its_read_and_nobody_else() -> None:
    table = Table()
    asking = [table.ask(key) for key in (1, 2, 3, 3)]
    await step()
    table.reads[0][1].set_exception(StoreUnavailableError("away"))
    await table.end(1)
    await step()
    table.reads[2][1].set_exception(StoreUnavailableError("away"))
    found = await asyncio.gather(*asking, return_exceptions=True)
    assert [type(one) for one in found] == [
        StoreUnavailableError, int, StoreUnavailableError, StoreUnavailableError
    ]  # fmt: skip
    again = table.ask(1)
    await step()
    await table.end(3)
    assert await again == 0


async def test_who_gives_up_takes_nothing_from_the_others() -> None:
    table = Table()
    others = [table.ask(2), table.ask(3)]
    hasty, patient = table.ask(1), table.ask(1)
    await step()
    hasty.cancel()
    for number in range(3):
        await table.end(number)
        await step()
    await asyncio.gather(*others)
    assert [ids for ids, _ in table.reads] == [[2], [3], [1]]
    assert await patient == 0
    assert hasty.cancelled()


async def test_where_there_is_nothing_it_is_none() -> None:
    table = Table()
    asking = table.ask(10_000)
    await step()
    await table.end(0)
    assert await asking is None


async def test_one_read_does_not_take_everything() -> None:
    table = Table()
    asking = [table.ask(key) for key in range(3 * KEYS_MAX)]
    for number in range(20):
        await step()
        if number < len(table.reads):
            await table.end(number)
    await asyncio.gather(*asking)
    assert max(len(ids) for ids, _ in table.reads) == KEYS_MAX
    assert sum(len(ids) for ids, _ in table.reads) == 3 * KEYS_MAX


async def test_closing_leaves_nobody_waiting() -> None:
    table = Table()
    asking = [table.ask(key) for key in range(5)]
    await step()
    await table.gathered.close()
    found = await asyncio.gather(*asking, return_exceptions=True)
    assert all(isinstance(one, asyncio.CancelledError) for one in found)
    assert len(table.reads) == READS_MAX


@pytest.mark.parametrize("seed", range(20))
async def test_in_any_order_everybody_sees_what_was_written_before_they_came(seed: int) -> None:
    rng = random.Random(seed)
    table = Table()
    asking: list[tuple[int, asyncio.Task[int | None]]] = []
    for _ in range(300):
        key = rng.randrange(6)
        match rng.randrange(4):
            case 0:
                table.counts[key] += 1
            case 1 | 2:
                asking.append((table.counts[key], table.ask(key)))
                await step()
            case 3 if under_way := [ended for _, ended in table.reads if not ended.done()]:
                rng.choice(under_way).set_result(None)
                await step()
    while under_way := [ended for _, ended in table.reads if not ended.done()]:
        under_way[0].set_result(None)
        await step()
    for at_least, task in asking:
        seen = await task
        assert seen is not None
        assert seen >= at_least
