"""Seats that an import changes: by commands, which the owners of the sections decide like everybody else's.

Where no Seatline runs, ``deciding_here`` is the owner for as long as it takes: the same drain loop, the same events.
"""

from __future__ import annotations

import asyncio
import contextlib
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence

from allocator.model.commands import ChangeCapacity, CloseSection, OpenSection, StaffCommand
from allocator.model.delivery import Envelope, Reply
from allocator.model.outcomes import Code
from allocator.ports import Committed, StoreError
from allocator.turns.clock import SystemClock
from allocator.turns.service import Limits, SectionService
from persistence.imports.report import SeatChanges, SeatsNotChangedError
from persistence.store.postgres import PostgresStore

SendCommands = Callable[[Sequence[StaffCommand]], Awaitable[Sequence[Reply]]]
"""Has commands decided by the owners of their sections; the replies are in the order of the commands."""

PORTION = 500
BUDGET_S = 30.0


async def no_owner(_commands: Sequence[StaffCommand]) -> Sequence[Reply]:
    """For imports that only make sections.

    Raises:
        SeatsNotChangedError: always.
    """
    raise SeatsNotChangedError("this import may not change the seats of sections that are there")


async def change_seats(changes: SeatChanges, send: SendCommands) -> None:
    """Close sections, give sections their numbers of seats, and open sections.

    In this order nobody gets a seat in between who would not get one in the section as it will be.

    Raises:
        SeatsNotChangedError: if some could not be changed.
    """
    steps: tuple[list[StaffCommand], ...] = (
        [CloseSection(section_id, None) for section_id in sorted(changes.closed)],
        [ChangeCapacity(section_id, capacity, None) for section_id, capacity in sorted(changes.capacities.items())],
        [OpenSection(section_id, None) for section_id in sorted(changes.opened)],
    )
    wanted = [step[start : start + PORTION] for step in steps for start in range(0, len(step), PORTION)]
    missed: list[int] = []
    for done, commands in enumerate(wanted):
        try:
            replies = await send(commands)
        except (ConnectionError, StoreError) as error:
            left = {command.section_id for portion in wanted[done:] for command in portion}
            raise SeatsNotChangedError(
                f"all was imported but the seats of {len(left)} sections ({error}): import the same again"
            ) from error
        missed += [c.section_id for c, reply in zip(commands, replies, strict=True) if reply.code is not Code.CHANGED]
    if missed:
        raise SeatsNotChangedError(
            f"all was imported, but {len(set(missed))} sections could not get their number of seats (the first is "
            f"section {missed[0]}): import the same again"
        )


@contextlib.asynccontextmanager
async def deciding_here(database_url: str) -> AsyncIterator[SendCommands]:
    """Decide commands in this process, as the owner of the sections.

    It takes no leases: should an actor own a section after all, it is fenced out by the epoch and reads it anew.

    Args:
        database_url: as asyncpg wants it, ``postgresql://``.
    """
    store = PostgresStore(database_url)
    owner = f"import|{uuid.uuid4().hex}"
    service = SectionService(owner, store, _NoLease(), _NobodyListens(), SystemClock(), Limits())
    loop = asyncio.create_task(service.run(), name="seat changes of an import")

    async def send(commands: Sequence[StaffCommand]) -> Sequence[Reply]:
        return await service.submit([(Envelope(command), BUDGET_S) for command in commands])

    try:
        yield send
    finally:
        loop.cancel()
        await asyncio.gather(loop, return_exceptions=True)
        await store.close()


class _NoLease:
    """Every section may be taken: the epoch decides."""

    async def acquire(self, _section_ids: Sequence[int]) -> Mapping[int, str]:
        return {}

    async def release(self, _section_ids: Sequence[int]) -> bool:
        return True


class _NobodyListens:
    """Whoever imports has all caches of the catalogue invalidated afterwards."""

    async def announce(self, _committed: Committed) -> None:
        pass
