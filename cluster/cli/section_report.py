"""Reads what Postgres and Redis know of a section. Its actor is not asked."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from typing import cast

import asyncpg

from persistence.redis.breaker import RedisAwayError, RedisBreaker

TIMEOUT_S = 5.0
REDIS_TIMEOUT_S = 1.0

SECTION = """
SELECT c.code || ' ' || s.code AS code, t.capacity, t.enrolled, t.waitlisted, t.is_open, t.epoch, t.owner
FROM section_seats t JOIN course_sections s ON s.id = t.section_id JOIN courses c ON c.id = s.course_id
WHERE t.section_id = $1
"""
WAITLIST = """
SELECT id, place, blocked_by FROM enrollments WHERE section_id = $1 AND status = 'waitlisted' ORDER BY place
"""


@dataclass(frozen=True, slots=True)
class WaitingPlace:
    """A place on the waitlist. No student is named."""

    position: int
    place: int
    enrollment_id: int
    blocked: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class SectionReport:
    """A section: its owner, its seats and its waitlist.

    Args:
        owner: the actor that activated it last; None if none ever did.
        lease: a sentence on who holds its lease, and whether that actor is alive.
    """

    section_id: int
    code: str
    owner: str | None
    epoch: int
    lease: str
    capacity: int
    enrolled: int
    waitlisted: int
    is_open: bool
    waitlist: tuple[WaitingPlace, ...]


async def read_section(database_url: str, redis_url: str, section_id: int) -> SectionReport | None:
    """The report on a section; None if there is no section of this id."""
    connection = await asyncpg.connect(database_url, timeout=TIMEOUT_S, command_timeout=TIMEOUT_S)
    try:
        async with connection.transaction(isolation="repeatable_read", readonly=True):
            row = await connection.fetchrow(SECTION, section_id)
            waiting = await connection.fetch(WAITLIST, section_id)
    finally:
        await connection.close()
    if row is None:
        return None
    return SectionReport(
        section_id,
        row["code"],
        row["owner"].partition("|")[0] if row["owner"] else None,
        row["epoch"],
        await _lease(redis_url, section_id),
        row["capacity"],
        row["enrolled"],
        row["waitlisted"],
        row["is_open"],
        tuple(
            WaitingPlace(position, one["place"], one["id"], tuple(one["blocked_by"] or ()))
            for position, one in enumerate(waiting, start=1)
        ),
    )


async def _lease(redis_url: str, section_id: int) -> str:
    redis = RedisBreaker(redis_url, "leases", timeout_s=REDIS_TIMEOUT_S, connections_max=1)
    try:
        with suppress(RedisAwayError):
            holder = cast("bytes | None", await redis.call(lambda client: client.get(f"lease:section:{section_id}")))
            if holder is None:
                return "nobody holds it"
            actor, _, incarnation = str(holder, "utf-8", "backslashreplace").partition("|")
            is_alive = await redis.call(lambda client: client.exists(f"alive:{actor}:{incarnation}"))
            return f"{actor} holds it" if is_alive else f"{actor} held it, and is not alive any more"
        return "Redis does not answer"
    finally:
        await redis.close()
