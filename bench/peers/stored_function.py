"""The strongest simple design: aiohttp, an asyncpg pool, and one call of a stored function for each request.

The pool has as many connections as keep Postgres busy (POOL_SIZE); more would only wait for each other's locks. The
variant with SKIP LOCKED uses this module with another function.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import asyncpg

from allocator.model.commands import Enroll
from allocator.model.delivery import OVERLOADED, Reply
from allocator.model.outcomes import Code, Outcome, Reason, ReasonCode
from bench.peers.environment import PeerEnvironment
from bench.peers.web_server import build_app, run, serve
from persistence.store.stored_outcomes import decode_outcome

POOL_SIZE = 12
"""Connections of the process."""

BUSY = (asyncpg.LockNotAvailableError, asyncpg.QueryCanceledError, asyncpg.DeadlockDetectedError)

SETTINGS = {
    "application_name": "bench-peer",
    "statement_timeout": "5000",
    "lock_timeout": "5000",
    "synchronous_commit": "on",
    "jit": "off",
    "plan_cache_mode": "force_generic_plan",
    "timezone": "UTC",
}


def calling(function: str) -> Callable[[], Awaitable[None]]:
    """The main coroutine of a peer that decides every request with the stored function ``function``."""

    async def main() -> None:
        environment = PeerEnvironment.read()
        async with asyncpg.create_pool(
            environment.database_url,
            min_size=POOL_SIZE,
            max_size=POOL_SIZE,
            server_settings=SETTINGS,
            reset=_nothing,  # sessions have no state, so the round trip of a reset is not needed
        ) as pool:
            statement = f"SELECT * FROM {function}($1, $2, $3, $4, $5)"  # noqa: S608  (a name of ours)

            async def enroll_one(command: Enroll, key: str, keep_answer: bool) -> Reply:
                try:
                    row = await pool.fetchrow(
                        statement, command.student_id, command.section_id, command.join_waitlist, key, keep_answer
                    )
                except BUSY:
                    return OVERLOADED
                return reply_of_row(command.section_id, row)

            await serve(build_app(environment.tokens(), enroll_one), environment.port)

    return main


async def _nothing(_connection: Any) -> None:
    pass


def reply_of_row(section_id: int, row: Any) -> Reply:
    """What the stored function said."""
    code, enrollment_id, place, position, reasons, stored = row
    if code == "stored":
        return Reply(decode_outcome(stored), replayed=True)
    refusals = tuple(Reason(ReasonCode(one), "") for one in reasons or ())
    return Reply(Outcome(Code(code), section_id, enrollment_id, place, position, refusals))


if __name__ == "__main__":
    run(calling("bench_enroll"))
