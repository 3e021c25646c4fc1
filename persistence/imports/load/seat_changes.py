"""Seats that an import changes: by commands, which the owners of the sections decide like everybody else's.

Where no Seatline runs, ``deciding_here`` is the owner for as long as it takes: the same drain loop, the same events.
"""

from __future__ import annotations

import asyncio
import contextlib
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence

from allocator.model.commands import ChangeCapacity
from allocator.model.delivery import Envelope, Reply
from allocator.model.outcomes import Code
from allocator.ports import Committed, StoreError
from allocator.turns.clock import SystemClock
from allocator.turns.service import Limits, SectionService
from persistence.imports.report import SeatsNotChangedError
from persistence.store.postgres import PostgresStore

SendCommands = Callable[[Sequence[ChangeCapacity]], Awaitable[Sequence[Reply]]]
"""Has commands decided by the owners of their sections; the replies are in the order of the commands."""

PORTION = 500
BUDGET_S = 30.0


async def no_owner(_commands: Sequence[ChangeCapacity]) -> Sequence[Reply]:
    """For imports that only make sections.

    Raises:
        SeatsNotChangedError: always.
    """
    raise SeatsNotChangedError("this import may not change the seats of sections that are there")


async def change_capacities(capacities: Mapping[int, int], send: SendCommands) -> None:
    """Give sections their numbers of seats.

    Args:
        capacities: by section id.

    Raises:
        SeatsNotChangedError: if some could not get theirs.
    """
    wanted = [ChangeCapacity(section_id, capacity, None) for section_id, capacity in sorted(capacities.items())]
    missed: list[int] = []
    for start in range(0, len(wanted), PORTION):
        commands = wanted[start : start + PORTION]
        try:
            replies = await send(commands)
        except (ConnectionError, StoreError) as error:
            raise SeatsNotChangedError(
                f"all was imported but the seats of {len(wanted) - start} sections ({error}): import the same again"
            ) from error
        missed += [c.section_id for c, reply in zip(commands, replies, strict=True) if reply.code is not Code.CHANGED]
    if missed:
        raise SeatsNotChangedError(
            f"all was imported, but {len(missed)} sections could not get their number of seats (the first is section "
            f"{missed[0]}): import the same again"
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

    async def send(commands: Sequence[ChangeCapacity]) -> Sequence[Reply]:
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
