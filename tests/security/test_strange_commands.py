"""Damaged and hostile commands that no API process sends, on Postgres."""

from __future__ import annotations

import pytest

from allocator.model.commands import ChangeCapacity, Drop, Enroll, RecheckHead
from allocator.model.delivery import Envelope, Undecided
from allocator.model.outcomes import Code
from tests.drain_loop import ask, enroll, make_service, running
from tests.sample_campus import PostgresWorld

pytestmark = pytest.mark.services

LARGEST = 2**63 - 1
BEYOND = 2**64 - 1

HARMLESS = {Code.NOT_FOUND, Code.REFUSED, Undecided.UNAVAILABLE}
"""Answers that say that nothing changed."""


def strange(section_id: int, student_id: int) -> dict[str, Envelope]:
    return {
        "a section beyond all": Envelope(Enroll(LARGEST, student_id, True), "k1", True, True),
        "a section beyond 64 bits": Envelope(Enroll(BEYOND, student_id, True), "k2", True, True),
        "a negative section": Envelope(Enroll(-1, student_id, True), "k3", True, True),
        "a student beyond all": Envelope(Enroll(section_id, LARGEST, True), "k4", True, True),
        "a student beyond 64 bits": Envelope(Enroll(section_id, BEYOND, True), "k5", True, True),
        "a key with a NUL": Envelope(Enroll(section_id, student_id, True), "a\0b", True, True),
        "a key with a lone surrogate": Envelope(Enroll(section_id, student_id, True), "\ud800", True, True),
        "a negative enrolment": Envelope(Drop(section_id, student_id, -5), "k6", True, True),
        "an enrolment beyond 64 bits": Envelope(Drop(section_id, student_id, BEYOND), "k7", True, True),
        "a negative capacity": Envelope(ChangeCapacity(section_id, -1, 1)),
        "a capacity beyond 32 bits": Envelope(ChangeCapacity(section_id, 2**40, 1)),
        "a head that is nobody": Envelope(RecheckHead(section_id, BEYOND)),
    }


@pytest.mark.parametrize("name", strange(1, 1))
async def test_a_strange_command_is_answered_and_harms_nobody_beside_it(database_url: str, name: str) -> None:
    world = await PostgresWorld.create(database_url)
    section_id = await world.add_section(2)
    student_id, other_id = await world.add_student(), await world.add_student()
    async with running(make_service(world.store())) as service:
        odd, good = await service.submit(
            [(strange(section_id, student_id)[name], 5.0), (enroll(other_id, section_id), 5.0)]
        )
        later = await ask(service, enroll(student_id, section_id))

    assert odd.code in HARMLESS | ({Code.CHANGED} if name == "a head that is nobody" else set())
    assert good.code is Code.ENROLLED
    assert later.code is Code.ENROLLED
    assert (await world.seats(section_id)).capacity == 2
    assert await world.statuses(section_id) == {student_id: "enrolled", other_id: "enrolled"}
    await world.close()
