"""The outbox relay: at least once after a crash, and not twice when several relays work at once."""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import suppress

import asyncpg
import pytest

from persistence.outbox.relay import LogSink, NotAllSentError, OutboxMessage, OutboxRelay

pytestmark = pytest.mark.services


class Received:
    """A sink that remembers, and can be made to fail."""

    def __init__(self, delay_s: float = 0.0) -> None:
        self.event_ids: list[str] = []
        self.failures_left = 0
        self.delay_s = delay_s

    async def send(self, messages: Sequence[OutboxMessage]) -> None:
        await asyncio.sleep(self.delay_s)
        if self.failures_left:
            self.failures_left -= 1
            raise ConnectionError("the sink is away")
        self.event_ids += [message.event_id for message in messages]


class Crash(BaseException):
    """As good as a kill: nothing in the relay may catch it."""


class DiesAfterSending(Received):
    """The process dies when the messages are out, but not deleted yet."""

    async def send(self, messages: Sequence[OutboxMessage]) -> None:
        await super().send(messages)
        raise Crash


@pytest.fixture
async def database(database_url: str) -> AsyncIterator[asyncpg.Connection]:
    connection = await asyncpg.connect(database_url)
    await connection.execute("TRUNCATE outbox")
    yield connection
    await connection.close()


async def fill(database: asyncpg.Connection, count: int) -> set[str]:
    await database.execute(
        "INSERT INTO outbox (event_id, topic, payload)"
        " SELECT '7:' || n, 'enrolled', '{}' FROM generate_series(1, $1) n",
        count,
    )
    return {f"7:{number}" for number in range(1, count + 1)}


async def left(database: asyncpg.Connection) -> int:
    count: int = await database.fetchval("SELECT count(*) FROM outbox")
    return count


async def run_until_empty(database: asyncpg.Connection, *relays: OutboxRelay) -> None:
    tasks = [asyncio.create_task(relay.run()) for relay in relays]
    try:
        async with asyncio.timeout(20):
            while await left(database):
                await asyncio.sleep(0.02)
    finally:
        for task in tasks:
            task.cancel()
        for task in tasks:
            with suppress(asyncio.CancelledError):
                await task


async def test_everything_is_delivered_in_order_and_gone(database: asyncpg.Connection, database_url: str) -> None:
    expected = await fill(database, 1200)
    sink = Received()
    relay = OutboxRelay(database_url, sink)
    assert [await relay.relay_once() for _ in range(4)] == [500, 500, 200, 0]
    await relay.close()
    assert set(sink.event_ids) == expected
    assert sink.event_ids[0] == "7:1"
    assert await left(database) == 0


async def test_dying_between_send_and_delete_delivers_again(database: asyncpg.Connection, database_url: str) -> None:
    expected = await fill(database, 10)
    dying = DiesAfterSending()
    relay = OutboxRelay(database_url, dying)
    with pytest.raises(Crash):
        await relay.relay_once()
    await relay.close()
    assert await left(database) == 10
    sink = Received()
    await run_until_empty(database, OutboxRelay(database_url, sink, poll_s=0.02))
    assert set(dying.event_ids) == set(sink.event_ids) == expected


async def test_two_relays_at_once_do_not_double(database: asyncpg.Connection, database_url: str) -> None:
    expected = await fill(database, 2000)
    one, two = Received(delay_s=0.01), Received(delay_s=0.01)
    relays = [OutboxRelay(database_url, sink, batch_max=50, poll_s=0.01) for sink in (one, two)]
    await run_until_empty(database, *relays)
    assert Counter(one.event_ids + two.event_ids) == Counter(expected)
    assert one.event_ids
    assert two.event_ids


async def test_a_sink_that_is_away_is_tried_again(
    database: asyncpg.Connection, database_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    expected = await fill(database, 3)
    sink = Received()
    sink.failures_left = 1
    relay = OutboxRelay(database_url, sink)
    with pytest.raises(ConnectionError):
        await relay.relay_once()
    await relay.close()
    assert await database.fetchval("SELECT array_agg(attempts) FROM outbox") == [1, 1, 1]
    sink.failures_left = 1
    with caplog.at_level(logging.WARNING, "persistence.outbox.relay"):
        await run_until_empty(database, relay)
    assert set(sink.event_ids) == expected
    assert "the sink is away" in caplog.text


class TakesEverySecond(Received):
    """Never takes those with an odd number until it is mended."""

    is_mended = False

    async def send(self, messages: Sequence[OutboxMessage]) -> None:
        taken = [one for one in messages if self.is_mended or int(one.event_id.partition(":")[2]) % 2 == 0]
        await super().send(taken)
        if len(taken) < len(messages):
            raise NotAllSentError([one.id for one in taken], "every second one")


async def test_only_what_was_taken_is_forgotten(database: asyncpg.Connection, database_url: str) -> None:
    expected = await fill(database, 10)
    sink = TakesEverySecond()
    relay = OutboxRelay(database_url, sink)
    with pytest.raises(NotAllSentError, match="every second one"):
        await relay.relay_once()
    rest = await database.fetch("SELECT event_id, attempts FROM outbox ORDER BY id")
    assert [tuple(row) for row in rest] == [(f"7:{number}", 1) for number in (1, 3, 5, 7, 9)]
    sink.is_mended = True
    assert await relay.relay_once() == 5
    assert Counter(sink.event_ids) == Counter(expected)
    await relay.close()


async def test_a_few_that_are_not_taken_do_not_hold_up_the_rest(
    database: asyncpg.Connection, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("persistence.outbox.relay.BACKOFF_MIN_S", 0.01)
    monkeypatch.setattr("persistence.outbox.relay.BACKOFF_MAX_S", 1000.0)
    await fill(database, 2)
    sink = TakesEverySecond()
    relay = OutboxRelay(database_url, sink, batch_max=4, poll_s=0.01)
    running = asyncio.create_task(relay.run())
    async with asyncio.timeout(20):
        for number in range(4, 44, 2):  # by doubling, the pause would have become hours
            await database.execute(
                "INSERT INTO outbox (event_id, topic, payload) VALUES ($1, 'enrolled', '{}')", f"7:{number}"
            )
            while await left(database) > 1:
                await asyncio.sleep(0.005)
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    assert len(sink.event_ids) == 21


async def test_a_lost_connection_is_made_again(database: asyncpg.Connection, database_url: str) -> None:
    sink = Received()
    relay = OutboxRelay(database_url, sink, poll_s=0.02)
    running = asyncio.create_task(relay.run())
    await asyncio.sleep(0.2)
    await database.execute(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'seatline-outbox'"
    )
    expected = await fill(database, 5)
    async with asyncio.timeout(10):
        while await left(database):
            await asyncio.sleep(0.02)
    assert not running.done()
    running.cancel()
    assert set(sink.event_ids) == expected


async def test_the_log_says_what_but_not_to_whom(caplog: pytest.LogCaptureFixture) -> None:
    messages = [
        OutboxMessage(1, "7:1", "enrolled", '{"email": "somebody@example.edu"}'),
        OutboxMessage(2, "7:2", "dropped", "{}"),
        OutboxMessage(3, "8:1", "enrolled", "{}"),
    ]
    with caplog.at_level(logging.DEBUG, "persistence.outbox.relay"):
        await LogSink().send(messages)
    info, *debug = [record.getMessage() for record in caplog.records]
    assert info == "outbox: 3 messages (dropped 1, enrolled 2)"
    assert debug == ["outbox: enrolled 7:1", "outbox: dropped 7:2", "outbox: enrolled 8:1"]
    assert "example.edu" not in caplog.text
