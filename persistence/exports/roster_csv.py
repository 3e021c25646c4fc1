"""Rosters as CSV that a spreadsheet shows but does not run."""

from __future__ import annotations

import csv
import io

from allocator.model.read_models import Roster, RosterEntry

HEADER = ("status", "place", "student_number", "name", "student_id", "enrollment_id")

STARTS_A_FORMULA = frozenset("=+-@\t\r\n＝＋－＠")  # noqa: RUF001  (full-width forms are formulas to some spreadsheets)
BOM = "\ufeff"
"""The byte-order mark by which Excel recognises UTF-8."""


def roster_csv(roster: Roster, *, with_bom: bool = False) -> bytes:
    """A roster as CSV in UTF-8: who has a seat, by name, then who waits, by place."""
    text = io.StringIO(BOM if with_bom else "", newline="")
    text.seek(0, io.SEEK_END)
    writer = csv.writer(text, quoting=csv.QUOTE_ALL)
    writer.writerow(HEADER)
    writer.writerows(_row("enrolled", one) for one in roster.enrolled)
    writer.writerows(_row("waitlisted", one) for one in roster.waitlisted)
    return text.getvalue().encode()


def harmless(cell: str) -> str:
    """``cell``, with an apostrophe in front if it would be a formula. Some spreadsheets skip leading spaces."""
    starts = cell[:1] in STARTS_A_FORMULA or cell.lstrip()[:1] in STARTS_A_FORMULA
    return f"'{cell}" if cell and starts else cell


def _row(status: str, entry: RosterEntry) -> list[str]:
    place = "" if entry.place is None else str(entry.place)
    numbers = [str(entry.student_id), str(entry.enrollment_id)]
    return [harmless(one) for one in (status, place, entry.student_number, entry.name, *numbers)]
