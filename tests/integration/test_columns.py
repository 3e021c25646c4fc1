"""Columns that are sent to Postgres as one text arrive unchanged."""

from __future__ import annotations

import asyncpg
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from persistence.store.columns import NOTHING, SEPARATOR, as_columns, spelt_out

pytestmark = pytest.mark.services

STATEMENT = spelt_out("SELECT * FROM unnest(numbers($1), texts($2), texts($3)) AS t(number, word, json)")
NUMBERS = st.none() | st.integers(-(2**63), 2**63 - 1)
PRINTABLE = st.text(st.characters(min_codepoint=32, exclude_categories=["Cs"]), min_size=1)
TRICKY = st.sampled_from(['{"a":"b,c"}', "NULL", "null", "{}", '"', "\\", "\\x1f", ",", "'; --", " ", "é\u2028"])
ROWS = st.lists(st.tuples(NUMBERS, st.none() | PRINTABLE | TRICKY, TRICKY), max_size=5)


@settings(deadline=None, max_examples=60)
@given(ROWS)
async def test_rows_come_back(database_url: str, rows: list[tuple[int | None, str | None, str]]) -> None:
    connection = await asyncpg.connect(database_url)
    try:
        found = [tuple(row) for row in await connection.fetch(STATEMENT, *as_columns(rows, "ntt"))]
    finally:
        await connection.close()
    assert found == rows


@pytest.mark.parametrize("column", [[f"a{SEPARATOR}b"], ["a", f"b{SEPARATOR}"], [""]])
def test_texts_that_could_not_be_told_apart_are_refused(column: list[str]) -> None:
    with pytest.raises(ValueError, match="control character"):
        as_columns([(text,) for text in column], "t")


def test_no_rows_are_no_elements() -> None:
    assert as_columns([], "nt") == ["{}", ""]
    assert as_columns([(None, None)], "nt") == ["{NULL}", NOTHING]
