"""Tables of text as spreadsheets write them. What the tables mean is not their business."""

from __future__ import annotations

import csv
import gzip
import io
import time
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from allocator.model.typed_text import tidy
from persistence.imports import table
from persistence.imports.report import ImportFileError, no_progress
from persistence.imports.table import Row, read_table


def read(tmp_path: Path, content: str | bytes, *columns: str) -> list[Row]:
    path = tmp_path / "t.tsv"
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return list(read_table(path, "a table", columns or ("a", "b"), no_progress))


def cells(rows: list[Row]) -> list[tuple[str, ...]]:
    assert all(row.reason is None for row in rows), rows
    return [row.cells for row in rows]


@pytest.mark.parametrize(
    ("line", "wanted"),
    [
        ('"1"\t2', ("1", "2")),
        ('1\t"2"', ("1", "2")),
        ('1\t"5 "" wide"', ("1", '5 " wide')),
        ('"1"\t""', ("1", "")),
        (' "1" \t\u00a0"2 "', ("1", "2")),
        ("1\t2\t\t ", ("1", "2")),
        ('"1\t1"\t2', ("1 1", "2")),
    ],
)
def test_quotes_are_read_as_spreadsheets_write_them(tmp_path: Path, line: str, wanted: tuple[str, str]) -> None:
    assert cells(read(tmp_path, f"a\tb\n{line}\n")) == [wanted]


@pytest.mark.parametrize(
    ("line", "why"),
    [
        ('1\t"2', "opened and not closed"),
        ('"1\t2', "opened and not closed"),
        ('1\t"2"x', "closed before the end"),
        ('1\t2"', "b has a stray quote"),
        ('1\tx "2" y', "b has a stray quote"),
        ("1", "1 columns instead of 2"),
        ("1\t2\t3", "3 columns instead of 2"),
        ('"1\t2"', "1 columns instead of 2"),
    ],
)
def test_a_row_that_is_not_certain_is_refused_and_the_next_ones_are_read(tmp_path: Path, line: str, why: str) -> None:
    first, broken, *others = read(tmp_path, f'a\tb\n0\t0\n{line}\n8\t8\n"9"\t9\n')
    assert first.cells == ("0", "0")
    assert (broken.line, broken.cells) == (3, ())
    assert why in (broken.reason or "")
    assert [(row.line, row.cells) for row in others] == [(4, ("8", "8")), (5, ("9", "9"))]


def test_a_cell_may_go_over_lines(tmp_path: Path) -> None:
    rows = read(tmp_path, 'a\tnote\tb\n1\t"first\nsecond ""quoted""\n\nlast"\t2\n3\t\t4\n')
    assert rows == [Row(2, ("1", "2")), Row(6, ("3", "4"))]


def test_a_forgotten_quote_swallows_nothing(tmp_path: Path) -> None:
    rows = read(tmp_path, 'a\tb\n1\t"2\n3\t4\n5\t"6"\n7\t8"\n' + "x\ty\n" * 30)
    assert [row.line for row in rows if row.reason] == [2, 5]
    assert len(rows) == 34


def test_the_names_of_the_header_decide(tmp_path: Path) -> None:
    rows = read(tmp_path, '\ufeffOther\t" B "\tA\tother\r\nx\t2\t1\tsay "hello"\r\n')
    assert cells(rows) == [("1", "2")]


@pytest.mark.parametrize(
    ("header", "why"),
    [
        ("a\tc", "no column b"),
        ("c", "no column a and no column b"),
        ("a,b", "separated by tabs"),
        ("a\tb\tA", "column a more than once"),
        ('"a\tb', "not closed"),
        ("", "no column a"),
    ],
)
def test_a_header_that_lacks_a_column_names_it(tmp_path: Path, header: str, why: str) -> None:
    with pytest.raises(ImportFileError, match=why):
        read(tmp_path, f"{header}\n1\t2\n")


def test_utf_16_is_refused_with_a_hint(tmp_path: Path) -> None:
    with pytest.raises(ImportFileError, match="UTF-16"):
        read(tmp_path, "a\tb\n1\t2\n".encode("utf-16"))


@pytest.mark.parametrize("end", ["", "\n", "\r\n", "\n\n\n", "\r\n\r\n", "\n\t\n", '\n""\t""\n', "\n \t\u00a0\r\n"])
def test_blank_lines_at_the_end_are_nothing(tmp_path: Path, end: str) -> None:
    assert cells(read(tmp_path, f"a\tb\n1\t2{end}")) == [("1", "2")]


def test_blank_lines_before_the_end_are_one_refusal(tmp_path: Path) -> None:
    rows = read(tmp_path, "a\tb\n\n\n1\t2\n")
    assert [(row.line, row.reason) for row in rows] == [
        (2, "1 columns instead of 2: 2 blank lines before the end"),
        (4, None),
    ]


def test_rows_are_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(table, "ROWS_MAX", 3)
    assert len(read(tmp_path, "a\tb\n" + "1\t2\n" * 3)) == 3
    with pytest.raises(ImportFileError, match="more than 3 rows"):
        read(tmp_path, "a\tb\n" + "1\t2\n" * 4)
    monkeypatch.setattr(table, "BLANK_LINES_MAX", 3)
    with pytest.raises(ImportFileError, match="more than 3 blank lines"):
        read(tmp_path, "a\tb\n1\t2\n" + "\n" * 4)


def test_quotes_on_every_line_take_linear_time(tmp_path: Path) -> None:
    path = tmp_path / "t.tsv.gz"
    path.write_bytes(gzip.compress(b"a\tb\n" + b'"' * 20_001 + b"\n" + (b'1\t"2' + b"x" * 2000 + b"\n") * 4000))
    started = time.monotonic()
    assert all(row.reason for row in read_table(path, "a table", ("a", "b"), no_progress))
    assert time.monotonic() - started < 10


TEXT = st.text(st.characters(exclude_categories=("Cs", "Cc")) | st.sampled_from('\t\n"'), max_size=12)


@settings(deadline=None)
@given(st.lists(st.tuples(TEXT, TEXT), max_size=8))
def test_what_the_csv_module_writes_is_read(
    tmp_path_factory: pytest.TempPathFactory, rows: list[tuple[str, str]]
) -> None:
    """Every cell in quotes, as the excel-tab dialect writes them; but no tab in a cell over several lines."""
    kept = [(a, b) for a, b in rows if not any("\t" in one and "\n" in one for one in (a, b)) and (a + b).strip()]
    out = io.StringIO()
    csv.writer(out, "excel-tab", quoting=csv.QUOTE_ALL, lineterminator="\n").writerows([("a", "b"), *kept])
    got = read(tmp_path_factory.mktemp("csv"), out.getvalue())
    assert cells(got) == [(tidy(a), tidy(b)) for a, b in kept]
