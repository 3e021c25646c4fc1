"""What running actors have in memory, against the rows."""

from __future__ import annotations

from collections.abc import Sequence

import asyncpg

from allocator.model.section import SectionState
from allocator.model.waitlist import Waiting
from persistence.store.batch_sql import WAITING
from persistence.verify.findings import Offences

SEATS = """
SELECT section_id, epoch, seq, capacity, enrolled, is_open, last_place, over_capacity FROM section_seats
 WHERE section_id = ANY($1::bigint[])"""


async def check_memory(connection: asyncpg.Connection, states: Sequence[SectionState], *, live: bool) -> list[Offences]:
    """Compare each section in memory with its rows, if its actor still owns it.

    One whose epoch is not the row's is a leftover that can commit nothing any more. While requests are being
    served (``live``), neither is compared what has moved on between the two looks.
    """
    offences = Offences("I11", "What the actors have in memory is what Postgres has")
    rows = await _read(connection, [state.section_id for state in states])
    skipped = 0
    for state in states:
        row = rows.get(state.section_id)
        if row is not None and (state.epoch < row.epoch or (live and state.seq != row.seq)):
            skipped += 1
        elif state != row:
            offences.add(section_id=state.section_id, memory=_shown(state), table=row and _shown(row))
    offences.note = f"{len(states) - skipped} sections compared, {skipped} of other owners or moved on left out"
    return [offences]


async def _read(connection: asyncpg.Connection, section_ids: list[int]) -> dict[int, SectionState]:
    waiting: dict[int, list[Waiting]] = {}
    for section_id, *entry in await connection.fetch(WAITING, section_ids):
        waiting.setdefault(section_id, []).append(Waiting(*entry))
    seats = await connection.fetch(SEATS, section_ids)
    return {row[0]: SectionState._make((*row[:7], tuple(sorted(waiting.get(row[0], ()))), row[7])) for row in seats}


def _shown(state: SectionState) -> dict[str, object]:
    return {**state._asdict(), "waiting": [one._asdict() for one in state.waiting]}
