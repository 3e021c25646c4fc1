"""An import beside a running Seatline: seats are changed by the actors that own the sections."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.acceptance.seatline import Client, Seatline
from tests.acceptance.test_registration import until_enrolled
from tests.sample_campus import PostgresWorld

pytestmark = pytest.mark.cluster

HEADER = "subj_course_id\tsec_code\tsec_id\ttotal_seats\tmeetings\n"
SEATS = """
SELECT s.id, seats.capacity, seats.enrolled, seats.epoch FROM section_seats seats
  JOIN course_sections s ON s.id = seats.section_id JOIN semesters t ON t.id = s.semester_id
 WHERE t.code = 'LIVE'"""


async def test_an_import_has_the_owner_change_the_seats(
    seatline: Seatline, client: Client, campus: PostgresWorld, tmp_path: Path
) -> None:
    file = tmp_path / "live_sections.tsv"

    async def import_with(seats: int) -> dict[str, int]:
        file.write_text(f"{HEADER}LIVE 1\tA00\t9901\t{seats}\tLE,M,9:00 - 9:50,CENTR 1\n")
        code, report, err = await seatline.run(
            "import", "ucsd", str(file), "--semester", "LIVE", "--new-semester", "--json"
        )
        assert code == 0, err
        notes: dict[str, int] = report["notes"]
        return notes

    await import_with(1)
    campus.semester_id = await campus.connection.fetchval("SELECT id FROM semesters WHERE code = 'LIVE'")
    students = [await campus.add_student() for _ in range(2)]
    section_id = (await campus.connection.fetchrow(SEATS))["id"]
    assert (await client.enroll(students[0], section_id)).status == 201
    assert (await client.enroll(students[1], section_id)).body["status"] == "waitlisted"
    before = await campus.connection.fetchrow(SEATS)

    assert (await import_with(2))["capacities_changed"] == 1
    assert (await import_with(2))["capacities_changed"] == 0

    await until_enrolled(campus, section_id, students)
    after = await campus.connection.fetchrow(SEATS)
    assert (after["capacity"], after["enrolled"]) == (2, 2)
    assert after["epoch"] == before["epoch"], "an import must not take a section from its owner"
