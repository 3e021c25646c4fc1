"""The state of the Redis peer, loaded from Postgres when it starts."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import asyncpg
import orjson
from redis.asyncio import Redis

from allocator.model.catalogue import SectionFacts, meetings_overlap
from persistence.store.postgres import PostgresStore

CHUNK = 2_000


class Catalogue:
    """Facts of sections. The clashes of a section are computed, and put into Redis, on its first request."""

    def __init__(self, redis: Redis, facts: Mapping[int, SectionFacts]) -> None:
        self._redis = redis
        self._facts = facts
        self._related: set[int] = set()

    async def facts(self, section_id: int) -> SectionFacts | None:
        """The facts of a section. When it returns, the clashes of the section are in Redis."""
        facts = self._facts.get(section_id)
        if facts is None or section_id in self._related:
            return facts
        others = [one for one in self._facts.values() if one.term == facts.term and one.section_id != section_id]
        clashing = [one.section_id for one in others if meetings_overlap(facts.meetings, one.meetings)]
        same = [o.section_id for o in others if (o.course_id, o.component) == (facts.course_id, facts.component)]
        async with self._redis.pipeline(transaction=False) as pipe:
            for name, ids in (("clashing", clashing), ("same", same)):
                if ids:
                    pipe.sadd(f"{name}:{section_id}", *ids)
            await pipe.execute()
        self._related.add(section_id)
        return facts


async def load_state(database_url: str, redis: Redis) -> dict[int, SectionFacts]:
    """Clear the Redis database and fill it.

    Returns:
        the facts of all sections.
    """
    await redis.flushdb()
    connection = await asyncpg.connect(database_url)
    try:
        seats = await connection.fetch("SELECT * FROM section_seats")
        records = await connection.fetch(
            """SELECT *, completed::text AS completed_text, extract(epoch FROM opens_at)::float8 AS opens,
                      extract(epoch FROM closes_at)::float8 AS closes FROM registration_records"""
        )
        last_id = await connection.fetchval("SELECT coalesce(max(id), 0) FROM enrollments")
    finally:
        await connection.close()
    await redis.set("enrollment_id", last_id)
    await _in_chunks(redis, seats, _put_section)
    await _in_chunks(redis, records, _put_record)
    store = PostgresStore(database_url)
    try:
        facts = {one.section_id: one for one in await store.facts([row["section_id"] for row in seats])}
    finally:
        await store.close()
    async with redis.pipeline(transaction=False) as pipe:
        for row in records:
            if row["enrolled"]:
                courses = [facts[section_id].course_id for section_id in row["enrolled"]]
                pipe.sadd(f"courses:{row['student_id']}:{row['semester_id']}", *courses)
        await pipe.execute()
    return facts


async def _in_chunks(redis: Redis, rows: list[Any], put: Any) -> None:
    for first in range(0, len(rows), CHUNK):
        async with redis.pipeline(transaction=False) as pipe:
            for row in rows[first : first + CHUNK]:
                put(pipe, row)
            await pipe.execute()


def _put_section(pipe: Any, row: Any) -> None:
    names = ("capacity", "enrolled", "waitlisted", "last_place", "seq")
    values = {**{name: row[name] for name in names}, "open": int(row["is_open"])}
    pipe.hset(f"section:{row['section_id']}", mapping=values)


def _put_record(pipe: Any, row: Any) -> None:
    student = f"{row['student_id']}:{row['semester_id']}"
    values = {
        "credits": row["credits"],
        "limit": row["credit_limit"],
        "holds": len(row["holds"]),
        "opens": row["opens"] or 0,
        "closes": -1 if row["closes"] is None else row["closes"],
        **{f"course:{course}": grade for course, grade in orjson.loads(row["completed_text"]).items()},
    }
    pipe.hset(f"record:{student}", mapping=values)
    for name, ids in (("held", row["enrolled"]), ("waiting", row["waitlisted"])):
        if ids:
            pipe.sadd(f"{name}:{student}", *ids)
