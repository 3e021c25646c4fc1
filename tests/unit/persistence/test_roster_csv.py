"""Rosters as CSV, with cells that no spreadsheet runs as formulas."""

from __future__ import annotations

import csv
import io

import pytest
from hypothesis import given
from hypothesis import strategies as st

from allocator.model.read_models import Roster, RosterEntry
from persistence.exports.roster_csv import HEADER, harmless, roster_csv

DANGEROUS = "=+-@\t\r"
# What Postgres takes as text: no NUL, no halves of surrogate pairs.
TEXTS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\x00"), max_size=40)
TRICKY = st.text(st.sampled_from("=+-@\t\r\n \",;'|＝＋－＠a1"), max_size=12)  # noqa: RUF001


def roster_of(*names: str) -> Roster:
    entries = [RosterEntry(100 + index, index, f"S{index}", name, None) for index, name in enumerate(names)]
    return Roster(7, tuple(entries), tuple(RosterEntry(900, 900, name, name, 3) for name in names[:1]))


def cells(content: bytes) -> list[list[str]]:
    return list(csv.reader(io.StringIO(content.decode("utf-8-sig"), newline="")))


@given(st.lists(TEXTS | TRICKY, min_size=1, max_size=5))
def test_no_cell_is_a_formula_and_every_name_can_be_had_back(names: list[str]) -> None:
    header, *rows = cells(roster_csv(roster_of(*names)))
    assert header == list(HEADER)
    assert len(rows) == len(names) + 1, "nothing in a name makes a row of its own"
    assert all(len(row) == len(HEADER) for row in rows)
    for row in rows:
        assert not any(cell[:1] in set(DANGEROUS) - {""} for cell in row if cell)
        assert not any(cell.lstrip()[:1] in "=+-@" for cell in row if cell.lstrip())
    for name, row in zip(names, rows, strict=False):
        assert row[3] in {name, f"'{name}"}


@pytest.mark.parametrize("start", ["=", "+", "-", "@", "\t", "\r", "＝", " =", "\n="])  # noqa: RUF001
def test_what_would_be_a_formula_is_prefixed(start: str) -> None:
    assert harmless(f"{start}cmd") == f"'{start}cmd"


@pytest.mark.parametrize("cell", ["", "Ada", "O'Neil", "a=b", "1-2", "Ünal", "'=1"])
def test_what_would_not_stays_as_it_is(cell: str) -> None:
    assert harmless(cell) == cell


def test_the_mark_is_there_if_wanted_and_once() -> None:
    roster = roster_of("Ünal")
    assert roster_csv(roster, with_bom=True) == b"\xef\xbb\xbf" + roster_csv(roster)
    assert cells(roster_csv(roster, with_bom=True)) == cells(roster_csv(roster))


def test_rows_are_in_the_order_of_the_roster() -> None:
    rows = cells(roster_csv(roster_of("Ada", "Bob")))[1:]
    assert [(row[0], row[1], row[3]) for row in rows] == [
        ("enrolled", "", "Ada"),
        ("enrolled", "", "Bob"),
        ("waitlisted", "3", "Ada"),
    ]
