"""A takeover: an API process with another view of the actors takes sections from an actor that is not told."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from allocator.model.commands import Enroll
from allocator.model.outcomes import Code, Outcome
from cluster.config.settings import Placement
from cluster.gateway.directory import Directory, DirectoryView
from tests.acceptance.test_registration import students_of
from tests.faults.other_gateway import OtherGateway
from tests.faults.row import Row
from tests.faults.stand import Stand

ACTORS = ("sections-local-0", "sections-local-1")
SILENT_MAX_S = 10.0


@asynccontextmanager
async def gateways(stand: Stand) -> AsyncIterator[dict[str, OtherGateway]]:
    """For each actor an API process that knows no other. They take seconds to start, so they wait for their use."""
    async with OtherGateway(stand.seatline, ACTORS[0]) as first, OtherGateway(stand.seatline, ACTORS[1]) as second:
        yield {ACTORS[0]: first, ACTORS[1]: second}


async def silent_actor(row: Row) -> tuple[str, str]:
    """Of the two actors the one that has just been frozen, the other that still answers."""
    students = await students_of(row.campus, len(ACTORS))
    asking = [row.load.enroll(one, sections_of(row, name)[0]) for one, name in zip(students, ACTORS, strict=True)]
    await asyncio.wait(asking, timeout=SILENT_MAX_S, return_when=asyncio.FIRST_COMPLETED)
    (silent,) = (name for name, one in zip(ACTORS, asking, strict=True) if not one.done())
    (other,) = (name for name in ACTORS if name != silent)
    return silent, other


def sections_of(row: Row, actor: str) -> list[int]:
    """Sections of the load that the directory gives to an actor."""
    directory = Directory(DirectoryView(0, Placement.AUTO, ACTORS))
    return [one for one in row.sections if directory.owner(one) == actor]


async def enroll_elsewhere(row: Row, gateway: OtherGateway, sections: list[int]) -> float:
    """Enrol a new student in each section through the other gateway, on record like all others.

    Returns:
        how long that took.
    """
    students = await students_of(row.campus, len(sections), credit_limit=999)
    wanted = [(student, one, f"other-{student}") for student, one in zip(students, sections, strict=True)]
    recorder = row.load.recorder
    calls = [recorder.invoke(f"other {student}", Enroll(one, student, True), key) for student, one, key in wanted]
    started = time.monotonic()
    outcomes = await gateway.enroll(wanted)
    took_s = time.monotonic() - started
    for call, (_, section_id, _), (code, enrollment_id, place) in zip(calls, wanted, outcomes, strict=True):
        recorder.ok(call, Outcome(Code(code), section_id, enrollment_id, place))
    assert {code for code, _, _ in outcomes} <= {"enrolled", "waitlisted"}
    return took_s


async def expect_owner(row: Row, sections: list[int], actor: str) -> None:
    """The sections are where they were taken to. The controller brings them back where they belong, later."""
    rows = await row.campus.connection.fetch(
        "SELECT split_part(owner, '|', 1), count(*) FROM section_seats WHERE section_id = ANY($1::bigint[]) GROUP BY 1",
        sections,
    )
    assert {owner for owner, _ in rows} == {actor}, rows
