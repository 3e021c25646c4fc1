"""Classes and students of a real university, through a whole Seatline."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.acceptance.seatline import Seatline

pytestmark = [pytest.mark.cluster, pytest.mark.data]


async def test_fall_2007_of_a_computer_science_department(seatline: Seatline, shared_data: Path) -> None:
    instance = str(shared_data / "itc2019" / "pu-cs-fal07.xml")
    solution = str(shared_data / "itc2019" / "pu-cs-fal07.solution.xml")
    code, imported, err = await seatline.run(
        "import", "itc2019", instance, "--solution", solution, "--new-semester", "--json"
    )
    assert code == 0, err
    assert imported["rows"]["sections"]["made"] == 174

    code, report, err = await seatline.run("replay", "itc2019", instance, "--solution", solution, "--json")
    assert code == 0, err
    # Everybody gets every class, but for the second of two that overlap: the timetable has 35 such students.
    assert report["requests"] == 3141
    assert report["outcomes"] == {"enrolled": 3106, "schedule_conflict": 35}
    assert report["verify"]["ok"]
