"""Checks of every guarantee that can be seen in a database and a running cluster.

The guarantees are numbered I1 to I11 (`docs/guarantees.md`): no section has more students than seats, what was
acknowledged is there, waitlists are fair, students' limits hold, the history gives exactly the tables, actors hold what
Postgres has. All checks read one snapshot, so they can run while requests are served.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Iterator
from functools import partial

import asyncpg

from allocator.model.section import SectionState
from persistence.verify.findings import Check, Checked, CheckProgress, Finding, Offences
from persistence.verify.history import check_replay
from persistence.verify.memory import check_memory
from persistence.verify.statements import STATEMENTS, run_statement

__all__ = ["Checked", "Finding", "verify"]

Memory = Callable[[], Awaitable[list[SectionState]]]

# A check sorts and joins whole tables: it may take longer, and more memory, than a connection that serves requests.
SETTINGS = {
    "application_name": "seatline-verify",
    "statement_timeout": "0",
    "idle_in_transaction_session_timeout": "0",
    "work_mem": "64MB",
    "timezone": "UTC",
}


async def verify(
    database_url: str,
    memory: Memory | None = None,
    *,
    live: bool = False,
    progress: CheckProgress | None = None,
    replayed: Callable[[int], None] | None = None,
) -> list[Finding]:
    """Run all checks.

    Args:
        database_url: as asyncpg wants it, ``postgresql://`` without a driver.
        memory: reads the sections that running actors have in memory; None skips that check (I11).
        live: whether requests are being served: then checks are skipped that hold only when nothing is under way.
        progress: called after each check.
        replayed: called now and then with the number of events replayed so far.

    Returns:
        one finding for each broken invariant; none if all hold.
    """
    connection = await asyncpg.connect(database_url, timeout=5, server_settings=SETTINGS)
    found: list[Offences] = []
    try:
        states = await memory() if memory is not None else None
        async with connection.transaction(isolation="repeatable_read", readonly=True):
            for check in _checks(states, live, replayed or (lambda _events: None)):
                started = time.monotonic()
                done = await check(connection)
                seconds = time.monotonic() - started
                found += done
                if progress is not None:
                    for one in done:
                        progress(Checked(one.invariant, one.title, seconds, one.total, one.note))
    finally:
        connection.terminate()
    return [finding for one in found if (finding := one.finding()) is not None]


def _checks(states: list[SectionState] | None, live: bool, replayed: Callable[[int], None]) -> Iterator[Check]:
    for statement in STATEMENTS:
        if not (live and statement.quiet):
            yield partial(run_statement, statement=statement)
    yield partial(check_replay, replayed=replayed)
    if states is not None:
        yield partial(check_memory, states=states, live=live)
