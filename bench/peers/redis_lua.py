"""Decisions in Redis, with write-behind to Postgres: a Lua script for each request, and a stream of its results.

NOT durable: an acknowledged enrolment is in the memory of one Redis until the writer has committed it to Postgres, and
is lost if Redis dies before. The comparison counts the writer's work, too: a round ends when the stream is written out.
"""

from __future__ import annotations

import asyncio
import time
from pathlib import Path
from typing import Any

from redis.asyncio import Redis

from allocator.model.catalogue import SectionFacts
from allocator.model.commands import Enroll, request_of
from allocator.model.delivery import Reply
from allocator.model.outcomes import Code, Outcome
from bench.peers.environment import PeerEnvironment
from bench.peers.redis_state import Catalogue, load_state
from bench.peers.web_server import build_app, run, serve
from bench.peers.write_behind import STREAM, WriteBehind
from persistence.store.stored_outcomes import decode_outcome

SCRIPT = (Path(__file__).parent / "redis_lua.lua").read_text(encoding="utf-8")
CONNECTIONS = 64


class RedisSeats:
    """Enrolments decided by the script."""

    def __init__(self, redis: Redis, catalogue: Catalogue) -> None:
        self._script = redis.register_script(SCRIPT)
        self._catalogue = catalogue

    async def enroll_one(self, command: Enroll, key: str, keep_answer: bool) -> Reply:
        """Decide one request."""
        facts = await self._catalogue.facts(command.section_id)
        if facts is None:
            return Reply(Outcome(Code.NOT_FOUND, command.section_id))
        arguments = _arguments(command, key, facts, keep_answer=keep_answer)
        answer: bytes = await self._script(_keys(command, key, facts), arguments)
        if answer == b"key_reused":
            return Reply(Outcome(Code.KEY_REUSED, command.section_id))
        outcome = decode_outcome(answer.removeprefix(b"stored\n").decode())
        return Reply(outcome, replayed=answer.startswith(b"stored\n"))


def _keys(command: Enroll, key: str, facts: SectionFacts) -> list[str]:
    student, section = f"{command.student_id}:{facts.term.semester_id}", command.section_id
    return [
        f"record:{student}", f"held:{student}", f"waiting:{student}", f"courses:{student}", f"section:{section}",
        f"clashing:{section}", f"same:{section}", f"answer:{command.student_id}:{key}", STREAM, "enrollment_id",
    ]  # fmt: skip


def _arguments(command: Enroll, key: str, facts: SectionFacts, *, keep_answer: bool) -> list[Any]:
    term = facts.term
    limit = -1 if facts.waitlist_limit is None else facts.waitlist_limit
    return [
        command.student_id, term.semester_id, command.section_id, facts.course_id, facts.credits, limit,
        term.opens_at or 0, -1 if term.closes_at is None else term.closes_at, time.time(),
        int(command.join_waitlist), int(keep_answer), key, request_of(command),
        len(facts.prerequisites), *(part for course, grade in facts.prerequisites for part in (course, grade or 0)),
        *facts.corequisites,
    ]  # fmt: skip


async def main() -> None:
    """Load Redis from Postgres, then serve, with the writer in the background."""
    environment = PeerEnvironment.read()
    redis = Redis.from_url(environment.redis_url, max_connections=CONNECTIONS * 8)
    facts = await load_state(environment.database_url, redis)
    writer = WriteBehind(environment.database_url, environment.redis_url)
    writing = asyncio.create_task(writer.run())
    seats = RedisSeats(redis, Catalogue(redis, facts))
    app = build_app(environment.tokens(), seats.enroll_one)
    writer.add_route(app)
    try:
        await serve(app, environment.port)
    finally:
        writing.cancel()
        await asyncio.gather(writing, return_exceptions=True)
        await redis.aclose()


if __name__ == "__main__":
    run(main)
