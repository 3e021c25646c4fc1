"""Fixtures: the Seatline under test of most rows, the reports of all rows, and their table at the end."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from cluster.embedded import EmbeddedServices
from tests.faults import report
from tests.faults.report import RowReport
from tests.faults.row import Row
from tests.faults.stand import Stand, open_stand

SEED = int(os.environ.get("SEATLINE_FAULT_SEED", "1"))

_reports: list[RowReport] = []

OpenRow = Callable[..., Row]
NewReport = Callable[..., RowReport]


@pytest.fixture(scope="module")
async def stand(services: EmbeddedServices, short_tmp: Path, request: pytest.FixtureRequest) -> AsyncIterator[Stand]:
    """A Seatline for the rows of one file."""
    name = request.module.__name__.rpartition(".")[2].removeprefix("test_")
    async with open_stand(services, short_tmp, name) as opened:
        yield opened


@pytest.fixture
def new_report() -> NewReport:
    """Begin the report of a row; it is in the table whatever becomes of the test."""

    def begin(number: int, fault: str, *, nearest: str = "") -> RowReport:
        print(f"\nrow {number}: {fault} (seed {SEED})")
        made = RowReport(number, fault, nearest=nearest)
        _reports.append(made)
        return made

    return begin


@pytest.fixture
def open_row(new_report: NewReport) -> OpenRow:
    """Begin a row with load on a stand."""

    def begin(
        number: int, fault: str, stand: Stand, *, nearest: str = "", is_timely: bool = True, sections: int = 20
    ) -> Row:
        return Row(new_report(number, fault, nearest=nearest), stand, seed=SEED, is_timely=is_timely, sections=sections)

    return begin


def pytest_sessionfinish() -> None:
    """Print the table and keep it."""
    if _reports:
        rows = sorted(_reports, key=lambda one: one.number)
        report.show(rows)
        print(f"written to {report.write(rows)}, with all details beside it as JSON")
