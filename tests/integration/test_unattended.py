"""Unattended seats: freed by an actor that died before it promoted anybody."""

from __future__ import annotations

from allocator.model.commands import RecheckHead
from allocator.model.outcomes import Code
from allocator.model.section import Section
from persistence.queries.unattended import UnattendedSeats
from tests.contract.test_service import settled
from tests.drain_loop import ask, drop, enroll, make_service, running
from tests.sample_campus import PostgresWorld


async def test_a_free_seat_that_nobody_looks_after_is_found_and_given(database_url: str) -> None:
    world = await PostgresWorld.create(database_url)
    section_id = await world.add_section(1)
    first, second = await world.add_student(), await world.add_student()
    seats = UnattendedSeats(database_url)
    dying = make_service(world.store(), "dying")
    async with running(dying):
        seat = await ask(dying, enroll(first, section_id))
        await ask(dying, enroll(second, section_id))
        assert await seats.find() == []
    # Its last turn frees the seat, and it dies before the next, which would promote.
    promotable = Section.promotable
    Section.promotable = lambda *_: False  # type: ignore[method-assign]
    try:
        async with running(dying):
            assert (await ask(dying, drop(first, section_id, seat.enrollment_id))).code is Code.DROPPED
    finally:
        Section.promotable = promotable  # type: ignore[method-assign]
    assert await seats.find() == [(section_id, second)]
    async with running(make_service(world.store(), "next")) as following:
        await ask(following, RecheckHead(section_id, second))
        await settled(world, section_id, second, "enrolled")
    assert await seats.find() == []
    seats.close()
    await world.close()
