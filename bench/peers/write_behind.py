"""The writer behind the Redis peer: commits entries of the stream to Postgres in batches, in order, each once."""

from __future__ import annotations

from typing import Any

import asyncpg
import orjson
from aiohttp import web
from redis.asyncio import Redis

from allocator.model.events import EnrollmentEvent, SeatTaken, StudentWaitlisted
from allocator.model.record import RecordKey, RegistrationRecord
from allocator.ports import Changes, SeatWrite, StoredAnswer
from persistence.store.postgres import PostgresStore
from persistence.store.stored_outcomes import decode_outcome

STREAM = "enrollments"
BATCH = 500
BLOCK_MS = 100

SEATS = """
SELECT section_id, epoch, seq, capacity, enrolled, waitlisted, last_place, is_open, over_capacity
  FROM section_seats WHERE section_id = ANY($1::bigint[])"""


class WriteBehind:
    """The writer. An entry is deleted from the stream after it is committed; a Redis that dies loses the others."""

    def __init__(self, database_url: str, redis_url: str) -> None:
        self._database_url = database_url
        self._redis = Redis.from_url(redis_url, socket_timeout=None)
        self._store = PostgresStore(database_url)
        self._seats: dict[int, SeatWrite] = {}

    def add_route(self, app: web.Application) -> None:
        """``GET /backlog``: how many entries are not in Postgres yet."""

        async def backlog(_request: web.Request) -> web.Response:
            return web.json_response({"waiting": await self._redis.xlen(STREAM)})

        app.router.add_get("/backlog", backlog)

    async def run(self) -> None:
        """Write until cancelled."""
        try:
            while True:
                found: Any = await self._redis.xread({STREAM: "0"}, count=BATCH, block=BLOCK_MS)
                if found:
                    streams = found.items() if isinstance(found, dict) else found
                    for _, entries in streams:
                        await self._write(entries)
        finally:
            await self._store.close()
            await self._redis.aclose()

    async def _write(self, entries: Any) -> None:
        rows = [orjson.loads(fields[b"e"]) for _, fields in _flat(entries)]
        await self._load_seats({row[2] for row in rows})
        changes = Changes()
        before = {row[2]: self._seats[row[2]] for row in rows}
        async with self._store.turn() as turn:
            keys = sorted({RecordKey(row[0], row[1]) for row in rows})
            records = (await turn.lock_records(keys, [])).records
            for row in rows:
                self._apply(row, records, changes)
            changes.records = list(records.values())
            changes.fences = [(section_id, before[section_id].epoch) for section_id in sorted(before)]
            changes.seats = [
                self._seats[section_id]._replace(seq_before=before[section_id].seq) for section_id in sorted(before)
            ]
            await turn.commit(changes)
        await self._redis.xdel(STREAM, *(entry_id for entry_id, _ in _flat(entries)))

    def _apply(self, row: list[Any], records: dict[RecordKey, RegistrationRecord], changes: Changes) -> None:
        student_id, semester_id, section_id, seq, enrollment_id, place, credit_count, key, request, outcome = row
        record, seats = records[RecordKey(student_id, semester_id)], self._seats[section_id]
        if place is None:
            event: EnrollmentEvent = SeatTaken(section_id, seq, student_id, enrollment_id, credit_count)
            self._seats[section_id] = seats._replace(seq=seq, enrolled=seats.enrolled + 1)
        else:
            event = StudentWaitlisted(section_id, seq, student_id, enrollment_id, place)
            self._seats[section_id] = seats._replace(seq=seq, waitlisted=seats.waitlisted + 1, last_place=place)
        record.apply(event)
        changes.events.append(event)
        changes.answers.append(StoredAnswer(student_id, key, request, decode_outcome(outcome)))

    async def _load_seats(self, section_ids: set[int]) -> None:
        missing = section_ids - self._seats.keys()
        if not missing:
            return
        connection = await asyncpg.connect(self._database_url)
        try:
            for row in await connection.fetch(SEATS, list(missing)):
                section_id, epoch, seq, *rest = row
                self._seats[section_id] = SeatWrite(section_id, epoch, seq, seq, *rest)
        finally:
            await connection.close()


def _flat(entries: Any) -> list[Any]:
    """The entries of a stream, which redis-py returns as a list, or in RESP3 as a list in a list."""
    return list(entries[0]) if entries and isinstance(entries[0], list) else list(entries)
