"""Sections that many want to see: few reads, and nobody is given what was read before they came."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Mapping, Sequence
from dataclasses import replace

import pytest

from allocator.ports import SeatWrite, StoreUnavailableError
from allocator.read_models import SectionView
from persistence.section_loads import READS_MAX, SECTIONS_MAX, SectionLoads
from tests.unit.api.fakes import SECTION


class Table:
    """Sections in Postgres; a read ends when it is told to."""

    def __init__(self) -> None:
        self.enrolled = dict.fromkeys(range(1_000), 0)
        self.reads: list[tuple[list[int], asyncio.Future[None]]] = []
        self.kept: dict[int, tuple[SectionView, SeatWrite | None]] = {}
        self.loads = SectionLoads(self.read, self.keep)

    async def read(self, section_ids: Sequence[int]) -> Mapping[int, SectionView]:
        """A snapshot, given later."""
        found = {
            one: replace(SECTION, id=one, enrolled=self.enrolled[one]) for one in section_ids if one in self.enrolled
        }
        ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.reads.append((list(section_ids), ended))
        await ended
        return found

    def keep(self, view: SectionView, news: SeatWrite | None) -> None:
        """See ``SectionLoads``."""
        self.kept[view.id] = (view, news)

    async def end(self, number: int) -> None:
        """Let a read end."""
        self.reads[number][1].set_result(None)
        await asyncio.sleep(0)

    def ask(self, section_id: int) -> asyncio.Task[SectionView | None]:
        """Somebody wants to see a section."""
        return asyncio.create_task(self.loads.section(section_id))


async def step() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


def news(section_id: int, seq: int) -> SeatWrite:
    return SeatWrite(section_id, 1, seq - 1, seq, 30, 1, 0, 0, True)


async def test_who_comes_while_reads_are_under_way_shares_the_next_one() -> None:
    table = Table()
    asking = [table.ask(section_id) for section_id in (1, 2, 3, 4, 3, 1)]
    await step()
    assert [ids for ids, _ in table.reads] == [[1], [2]]
    await table.end(0)
    await step()
    assert [ids for ids, _ in table.reads] == [[1], [2], [3, 4, 1]]
    await table.end(1)
    await table.end(2)
    await step()
    assert [view.id for task in asking if (view := await task)] == [1, 2, 3, 4, 3, 1]
    assert len(table.reads) == 3
    assert table.kept.keys() == {1, 2, 3, 4}


async def test_nobody_is_given_what_was_read_before_they_came() -> None:
    table = Table()
    early = table.ask(1)
    await step()
    table.enrolled[1] = 7
    late = table.ask(1)
    await step()
    await table.end(0)
    await table.end(1)
    first, second = await early, await late
    assert first is not None
    assert second is not None
    assert (first.enrolled, second.enrolled) == (0, 7)


async def test_what_is_heard_during_a_read_comes_with_what_is_kept() -> None:
    table = Table()
    asking = [table.ask(1), table.ask(2)]
    await step()
    for seq in (5, 7, 6):
        table.loads.hear(news(1, seq))
    table.loads.hear(news(3, 1))
    await table.end(0)
    await table.end(1)
    await asyncio.gather(*asking)
    assert table.kept[1][1] == news(1, 7)
    assert table.kept[2][1] is None


async def test_what_may_be_too_old_is_shown_but_not_kept() -> None:
    table = Table()
    before = table.ask(1)
    await step()
    table.loads.keep_nothing()
    after = table.ask(2)
    await step()
    await table.end(0)
    await table.end(1)
    assert await before is not None
    assert await after is not None
    assert table.kept.keys() == {2}


async def test_an_error_reaches_all_of_its_read_and_nobody_else() -> None:
    table = Table()
    asking = [table.ask(section_id) for section_id in (1, 2, 3, 3)]
    await step()
    table.reads[0][1].set_exception(StoreUnavailableError("away"))
    await table.end(1)
    await step()
    table.reads[2][1].set_exception(StoreUnavailableError("away"))
    found = await asyncio.gather(*asking, return_exceptions=True)
    assert [type(one) for one in found] == [
        StoreUnavailableError, SectionView, StoreUnavailableError, StoreUnavailableError
    ]  # fmt: skip
    again = table.ask(1)
    await step()
    await table.end(3)
    assert await again is not None


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
    assert await patient is not None
    assert hasty.cancelled()


async def test_a_section_that_does_not_exist_is_none() -> None:
    table = Table()
    asking = table.ask(10_000)
    await step()
    await table.end(0)
    assert await asking is None
    assert not table.kept


async def test_one_read_does_not_take_everything() -> None:
    table = Table()
    asking = [table.ask(section_id) for section_id in range(3 * SECTIONS_MAX)]
    for number in range(20):
        await step()
        if number < len(table.reads):
            await table.end(number)
    await asyncio.gather(*asking)
    assert max(len(ids) for ids, _ in table.reads) == SECTIONS_MAX
    assert sum(len(ids) for ids, _ in table.reads) == 3 * SECTIONS_MAX


async def test_closing_leaves_nobody_waiting() -> None:
    table = Table()
    asking = [table.ask(section_id) for section_id in range(5)]
    await step()
    await table.loads.close()
    found = await asyncio.gather(*asking, return_exceptions=True)
    assert all(isinstance(one, asyncio.CancelledError) for one in found)
    assert len(table.reads) == READS_MAX


@pytest.mark.parametrize("seed", range(20))
async def test_in_any_order_everybody_sees_what_was_written_before_they_came(seed: int) -> None:
    rng = random.Random(seed)
    table = Table()
    asking: list[tuple[int, asyncio.Task[SectionView | None]]] = []
    for _ in range(300):
        section_id = rng.randrange(6)
        match rng.randrange(4):
            case 0:
                table.enrolled[section_id] += 1
            case 1 | 2:
                asking.append((table.enrolled[section_id], table.ask(section_id)))
                await step()
            case 3 if under_way := [ended for _, ended in table.reads if not ended.done()]:
                rng.choice(under_way).set_result(None)
                await step()
    while under_way := [ended for _, ended in table.reads if not ended.done()]:
        under_way[0].set_result(None)
        await step()
    for at_least, task in asking:
        view = await task
        assert view is not None
        assert view.enrolled >= at_least
