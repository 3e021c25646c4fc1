"""The checks after a fault: nothing lost, nothing doubled, a linearizable history, every guarantee kept."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from typing import NamedTuple

import asyncpg

from allocator.model.commands import Drop, Enroll
from allocator.model.outcomes import Code
from persistence.queries.unattended import UnattendedSeats
from tests.acceptance.seatline import Seatline
from tests.linearizability.checker import Answer, Verdict, check_section
from tests.linearizability.history import Operation
from tests.linearizability.model import Seats

SETTLE_S = 20.0


class Findings(NamedTuple):
    """``lost`` and ``doubled`` are sentences, one for each enrolment; all three lists must be empty."""

    lost: list[str]
    doubled: list[str]
    impossible: list[str]
    sections: int
    operations: int


class Enrollment(NamedTuple):
    """A row of the table."""

    id: int
    student_id: int
    section_id: int
    status: str


async def settle(database_url: str) -> None:
    """Wait until no seat is free that a waiting student could have."""
    seats = UnattendedSeats(database_url)
    try:
        async with asyncio.timeout(SETTLE_S):
            while await seats.find():
                await asyncio.sleep(0.2)
    finally:
        seats.close()


async def examine(
    database_url: str, history: dict[int, list[Operation]], starts: dict[int, int], *, is_strict: bool = True
) -> Findings:
    """Compare the clients' log with the tables, section by section.

    Args:
        database_url: where the tables are.
        history: what clients saw of each section.
        starts: the capacity with which each section began.
    """
    rows, finals = await _tables(database_url, list(starts))
    lost, doubled = compare(history, rows)
    loop = asyncio.get_running_loop()
    with ProcessPoolExecutor(1) as pool:  # a process of its own: the search must not hold up the load
        verdicts = await asyncio.gather(
            *(
                loop.run_in_executor(pool, check, tuple(history.get(one, ())), starts[one], finals[one], is_strict)
                for one in starts
            )
        )
    impossible = [
        f"section {one}: {verdict.explain()}"
        for one, verdict in zip(starts, verdicts, strict=True)
        if not verdict.holds
    ]
    operations = sum(len(history.get(one, ())) for one in starts)
    return Findings(lost, doubled, impossible, len(starts), operations)


def check(operations: Sequence[Operation], capacity: int, final: Seats, is_strict: bool) -> Verdict:
    """The linearizability of one section. Twice as long a search if the first is left undecided."""
    verdict = check_section(operations, Seats(capacity), final, is_strict=is_strict)
    if verdict.answer is Answer.UNDECIDED:
        verdict = check_section(operations, Seats(capacity), final, is_strict=is_strict, nodes_max=2_000_000)
    return verdict


def compare(history: dict[int, list[Operation]], rows: Sequence[Enrollment]) -> tuple[list[str], list[str]]:
    """What was acknowledged and is not there; what is there twice or that nobody asked for.

    This is said by the checker too, in other words; here it is counted in the plainest way.
    """
    by_id = {row.id: row for row in rows}
    operations = [one for section in history.values() for one in section]
    acknowledged: dict[int, Enroll] = {}
    maybe_dropped: set[int] = set()
    dropped: set[int] = set()
    unanswered = {
        (one.command.student_id, one.command.section_id)
        for one in operations
        if isinstance(one.command, Enroll) and one.outcome is None
    }
    lost, doubled = [], []
    for one in operations:
        if isinstance(one.command, Drop):
            (maybe_dropped if one.outcome is None else dropped).add(one.command.enrollment_id)
        elif isinstance(one.command, Enroll) and one.outcome is not None and one.outcome.enrollment_id is not None:
            if one.outcome.enrollment_id in acknowledged:
                doubled.append(f"enrolment {one.outcome.enrollment_id} was given for two requests")
            acknowledged[one.outcome.enrollment_id] = one.command
    for enrollment_id, command in acknowledged.items():
        row = by_id.get(enrollment_id)
        if row is None or (row.student_id, row.section_id) != (command.student_id, command.section_id):
            lost.append(f"enrolment {enrollment_id} was acknowledged and is not there")
        elif enrollment_id in dropped and row.status != "dropped":
            lost.append(f"the drop of {enrollment_id} was acknowledged and did not happen")
        elif row.status == "dropped" and enrollment_id not in dropped | maybe_dropped:
            lost.append(f"enrolment {enrollment_id} was acknowledged and is dropped, which nobody asked for")
    doubled += [
        f"enrolment {row.id} is there, and was acknowledged to nobody"
        for row in rows
        if row.id not in acknowledged and (row.student_id, row.section_id) not in unanswered
    ]
    return lost, doubled


async def verify(seatline: Seatline) -> str:
    """Run ``seatline verify`` as it is: the summary of a run that found nothing.

    Raises:
        AssertionError: with all that it found.
    """
    code, found, err = await seatline.run("verify", "--json")
    assert code == 0, f"verify exits with {code}: {found}\n{err}"
    assert found["memory"] == "compared", f"memory was not compared: {found['memory']}"
    return f"{len(found['checks'])} checks hold, memory compared"


async def _tables(database_url: str, sections: list[int]) -> tuple[list[Enrollment], dict[int, Seats]]:
    connection = await asyncpg.connect(database_url)
    try:
        rows = [
            Enrollment(*row)
            for row in await connection.fetch(
                "SELECT id, student_id, section_id, status::text FROM enrollments "
                "WHERE section_id = ANY($1::bigint[]) ORDER BY place NULLS FIRST",
                sections,
            )
        ]
        seat_rows = await connection.fetch(
            "SELECT section_id, capacity, is_open, last_place FROM section_seats WHERE section_id = ANY($1::bigint[])",
            sections,
        )
    finally:
        await connection.close()
    finals = {}
    for section_id, capacity, is_open, last_place in seat_rows:
        mine = [row for row in rows if row.section_id == section_id]
        seated = frozenset((row.student_id, row.id) for row in mine if row.status == Code.ENROLLED)
        waiting = tuple((row.student_id, row.id) for row in mine if row.status == Code.WAITLISTED)
        finals[section_id] = Seats(capacity, is_open, seated, waiting, last_place)
    return rows, finals
