"""Every invariant of DESIGN section 1 that can be read off a database and a running cluster, checked.

All checks look at one snapshot, so they can run while requests are served.
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

# A check sorts and joins whole tables: it may take its time, and memory that a serving connection must not.
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
    """Check everything.

    Args:
        database_url: as asyncpg wants it, ``postgresql://`` without a driver.
        memory: gives the sections that running actors hold; None leaves I11 out.
        live: requests are being served: leave out what holds only once all is quiet.
        progress: hears of each check when it is done.
        replayed: hears now and then how many events of the history have been replayed.

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
