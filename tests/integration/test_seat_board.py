"""Sections in the memory of API processes: never older than what was acknowledged before the reader came."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import replace

import pytest
from redis.asyncio import Redis
from redis.asyncio.client import PubSub

from allocator.model.read_models import SectionView
from allocator.ports import Committed, SeatWrite
from persistence.caches import seat_board
from persistence.caches.announcer import RedisAnnouncer
from persistence.caches.keys import channel_of
from persistence.caches.seat_board import SeatBoard
from persistence.redis.breaker import RedisAwayError
from tests.unit.api.fakes import SECTION

pytestmark = pytest.mark.services

NOWHERE = "redis://127.0.0.1:1/0"


class Table:
    """Sections in Postgres."""

    def __init__(self) -> None:
        self.rows = {1: replace(SECTION, id=1, enrolled=0, seq=1)}
        self.reads = 0
        self.delay_s = 0.0

    async def read(self, section_ids: Sequence[int]) -> Mapping[int, SectionView]:
        self.reads += 1
        found = {section_id: self.rows[section_id] for section_id in section_ids if section_id in self.rows}
        await asyncio.sleep(self.delay_s)
        return found

    def take_seat(self) -> SeatWrite:
        """Commit one more student; gives what is to be published."""
        row = self.rows[1] = replace(self.rows[1], seq=self.rows[1].seq + 1, enrolled=self.rows[1].enrolled + 1)
        return SeatWrite(1, 1, row.seq - 1, row.seq, row.capacity, row.enrolled, row.waitlisted, 0, row.is_open)


@contextlib.asynccontextmanager
async def board_on(redis_url: str, table: Table, *, is_live: bool = True) -> AsyncIterator[SeatBoard]:
    board = SeatBoard(redis_url, table.read)
    async with asyncio.timeout(5):
        while is_live and not board._is_live:
            await asyncio.sleep(0.01)
    yield board
    await board.close()


async def enrolled(board: SeatBoard) -> int:
    view = await board.section(1)
    assert view is not None
    return view.enrolled


async def test_a_section_is_read_once_and_then_kept_true(redis: Redis, redis_url: str) -> None:
    table, actor = Table(), RedisAnnouncer(redis_url, timeout_s=2.0)
    async with board_on(redis_url, table) as one, board_on(redis_url, table) as other:
        for count in range(50):
            assert [await enrolled(one), await enrolled(other)] == [count, count]
            await actor.announce(Committed([table.take_seat()], []))
        assert table.reads == 2
    await actor.close()


async def test_nobody_reads_less_than_was_acknowledged_before_they_came(redis: Redis, redis_url: str) -> None:
    table, actor = Table(), RedisAnnouncer(redis_url, timeout_s=2.0)
    acknowledged = 0

    async def write() -> None:
        nonlocal acknowledged
        for _ in range(300):
            change = table.take_seat()
            await actor.announce(Committed([change], []))
            acknowledged = change.enrolled

    async def read(board: SeatBoard) -> None:
        while acknowledged < 300:
            before = acknowledged
            assert await enrolled(board) >= before
            await asyncio.sleep(0)

    async with board_on(redis_url, table) as one, board_on(redis_url, table) as other:
        async with asyncio.timeout(20):
            await asyncio.gather(write(), *(read(board) for board in (one, other) for _ in range(4)))
        assert table.reads < 300
    await actor.close()


async def test_what_is_heard_while_a_section_is_loaded_is_added_to_it(redis: Redis, redis_url: str) -> None:
    table, actor = Table(), RedisAnnouncer(redis_url, timeout_s=2.0)
    table.delay_s = 0.2
    async with board_on(redis_url, table) as board:
        loading = asyncio.create_task(enrolled(board))
        await asyncio.sleep(0.1)
        await actor.announce(Committed([table.take_seat()], []))
        await actor.announce(Committed([table.take_seat()], []))
        await loading
        assert await enrolled(board) == 2, "its load had begun before the change"
        assert table.reads == 1
    await actor.close()


async def test_old_news_changes_nothing(redis: Redis, redis_url: str) -> None:
    table, actor = Table(), RedisAnnouncer(redis_url, timeout_s=2.0)
    async with board_on(redis_url, table) as board:
        first, second = table.take_seat(), table.take_seat()
        await enrolled(board)
        await actor.announce(Committed([second], []))
        await actor.announce(Committed([first], []))
        assert await enrolled(board) == 2
    await actor.close()


async def test_a_lost_connection_means_that_all_is_read_again(redis: Redis, redis_url: str) -> None:
    table = Table()
    async with board_on(redis_url, table) as board:
        assert await enrolled(board) == 0
        await redis.client_kill_filter(_type="pubsub")
        table.take_seat()  # nobody hears of it
        async with asyncio.timeout(5):
            while await enrolled(board) != 1:
                await asyncio.sleep(0.01)
        assert await enrolled(board) == 1


async def test_a_redis_that_does_not_answer_holds_nobody_up_for_long(redis: Redis, redis_url: str) -> None:
    table = Table()
    async with board_on(redis_url, table) as board:
        await enrolled(board)
        table.take_seat()
        await redis.client_pause(1500)
        async with asyncio.timeout(1.0):
            assert await enrolled(board) == 1


async def test_without_redis_every_reader_goes_to_postgres() -> None:
    table = Table()
    async with board_on(NOWHERE, table, is_live=False) as board:
        assert [await enrolled(board), await enrolled(board)] == [0, 0]
        assert not board.look(1, lambda _: None)
        assert table.reads == 2


async def test_a_new_catalogue_and_nonsense_make_all_be_read_again(redis: Redis, redis_url: str) -> None:
    table, actor = Table(), RedisAnnouncer(redis_url, timeout_s=2.0)
    async with board_on(redis_url, table) as board:
        await board.section(1)
        table.rows[1] = replace(table.rows[1], teacher="Someone Else")
        await actor.invalidate_catalogue()
        view = await board.section(1)
        assert view is not None
        assert view.teacher == "Someone Else"
        await redis.publish(channel_of(redis), b"\x00nonsense")
        await board.section(1)
        assert table.reads == 3
    await actor.close()


async def test_what_expired_is_read_again(redis: Redis, redis_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(seat_board, "TTL_S", 0.05)
    table = Table()
    async with board_on(redis_url, table) as board:
        await board.section(1)
        await asyncio.sleep(0.1)
        assert not board.look(1, lambda _: None)
        await board.section(1)
        assert table.reads == 2


async def test_who_looks_without_waiting_is_told_when_all_is_heard(redis: Redis, redis_url: str) -> None:
    table, actor = Table(), RedisAnnouncer(redis_url, timeout_s=2.0)
    async with board_on(redis_url, table) as board:
        assert not board.look(1, lambda _: None), "it is not at hand yet"
        await board.section(1)
        await actor.announce(Committed([table.take_seat()], []))
        told: asyncio.Future[SectionView | None] = asyncio.get_running_loop().create_future()
        assert board.look(1, told.set_result)
        view = await told
        assert view is not None
        assert view.enrolled == 1
    await actor.close()


async def test_news_of_what_had_expired_is_added_to_the_load_that_replaces_it(
    redis: Redis, redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    table, actor = Table(), RedisAnnouncer(redis_url, timeout_s=2.0)
    async with board_on(redis_url, table) as board:
        monkeypatch.setattr(seat_board, "TTL_S", 0.05)
        await board.section(1)
        await asyncio.sleep(0.1)
        monkeypatch.undo()
        table.delay_s = 0.2
        loading = asyncio.create_task(enrolled(board))
        await asyncio.sleep(0.1)
        await actor.announce(Committed([table.take_seat()], []))
        await loading
        assert await enrolled(board) == 1
        assert table.reads == 2
    await actor.close()


async def test_a_load_from_before_a_gap_is_not_kept_though_another_is_under_way(redis: Redis, redis_url: str) -> None:
    table = Table()
    async with board_on(redis_url, table) as board:
        table.delay_s = 1.2
        before = asyncio.create_task(enrolled(board))
        await asyncio.sleep(0.05)
        await redis.client_kill_filter(_type="pubsub")
        table.take_seat()  # nobody hears of it
        meanwhile = asyncio.create_task(enrolled(board))
        async with asyncio.timeout(1.0):
            while not board._is_live:
                await asyncio.sleep(0.01)
        table.delay_s = 2.0
        after = asyncio.create_task(enrolled(board))
        await before
        assert await enrolled(board) == 1
        assert [await meanwhile, await after] == [1, 1]


async def test_who_comes_while_a_section_is_loaded_sees_what_was_heard_before_though_the_connection_is_lost(
    redis: Redis, redis_url: str
) -> None:
    table, actor = Table(), RedisAnnouncer(redis_url, timeout_s=2.0)
    async with board_on(redis_url, table) as board:
        table.delay_s = 0.5
        before = asyncio.create_task(enrolled(board))
        await asyncio.sleep(0.1)
        await actor.announce(Committed([table.take_seat()], []))
        after = asyncio.create_task(enrolled(board))
        await asyncio.sleep(0.1)
        await redis.client_kill_filter(_type="pubsub")
        await before
        assert await after == 1
    await actor.close()


async def test_a_bug_is_not_the_end_of_listening(redis: Redis, redis_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """As when two tasks of the client library read one connection while it is made anew."""
    monkeypatch.setattr(seat_board, "PAUSE_MAX_S", 0.05)
    ask, failures = SeatBoard._ping, [RuntimeError("readuntil() called while another coroutine is already waiting")]

    async def fail_once(self: SeatBoard, pubsub: PubSub) -> None:
        if failures:
            raise failures.pop()
        await ask(self, pubsub)

    monkeypatch.setattr(SeatBoard, "_ping", fail_once)
    table = Table()
    async with board_on(redis_url, table) as board:
        assert [await enrolled(board), await enrolled(board)] == [0, 0]
        assert table.reads == 1
        assert not board._task.done()


async def test_late_messages_have_the_latest_seats(
    redis: Redis, redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    table, actor = Table(), RedisAnnouncer(redis_url, timeout_s=2.0)
    tell = actor._announce
    async with board_on(redis_url, table) as board:
        await enrolled(board)
        first, second = table.take_seat(), table.take_seat()

        async def be_away(_keys: list[str], seats: Sequence[SeatWrite]) -> None:
            await asyncio.sleep(0.05 if first in seats else 0.0)  # one waits in vain, the other finds the breaker open
            raise RedisAwayError("away")

        monkeypatch.setattr(actor, "_announce", be_away)
        await asyncio.gather(actor.announce(Committed([first], [])), actor.announce(Committed([second], [])))
        monkeypatch.setattr(actor, "_announce", tell)
        async with asyncio.timeout(2):
            while actor._pending_seats:
                await asyncio.sleep(0.01)
        assert await enrolled(board) == 2
    await actor.close()
