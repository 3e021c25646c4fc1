"""Reading a table of text as spreadsheets write it: a header that names the columns, quotes where they are needed.

Columns are found by their names, in any order; others do not matter. Cells come without spaces around them. A cell in
quotes may hold tabs, line ends and doubled quotes. What cannot be read for certain, such as a quote that is not closed
or in the middle of a cell, is a row with a reason against it.
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from allocator.model.typed_text import tidy
from persistence.imports.files import read_lines
from persistence.imports.report import ImportFileError, ImportProgress

ROWS_MAX = 100_000
"""Most rows of a table. The largest real one that we know has 8,533."""

BLANK_LINES_MAX = 2_000_000
"""Most blank lines together. A spreadsheet that is formatted down to its end may write a million of them."""

CELL_LINES_MAX = 20
"""Most lines over which a row may go. A stray quote swallows no more than that before it is noticed."""

ROW_CHARS_MAX = 64 * 1024

# A cell in quotes, perhaps with spaces around them; else one up to the next tab. Possessive: time is linear.
_CELL = re.compile(r'[^\S\t\n]*+(?:"([^"]*+(?:""[^"]*+)*+)"[^\S\t\n]*+|([^\t]*+))(?:\t|\Z)')
_CLOSED = re.compile(r'\s*+"[^"]*+(?:""[^"]*+)*+"')


class Row(NamedTuple):
    """A row: the line where it begins, and either the cells of the wanted columns or the reason against it."""

    line: int
    cells: tuple[str, ...] = ()
    reason: str | None = None


class _Cell(NamedTuple):
    text: str
    quoted: bool


class _RowError(Exception):
    """Why a row cannot be read."""


class _OpenQuoteError(_RowError):
    """A quote is not closed on this line."""


def read_table(path: Path, what: str, columns: Sequence[str], progress: ImportProgress) -> Iterator[Row]:
    """The rows of a table whose columns are separated by tabs, below its header. Blank lines at the end are none.

    Args:
        path: the file, plain or gzip.
        what: what it should be, for messages.
        columns: names of the columns to return, in this order.
        progress: called with the bytes read.

    Raises:
        ImportFileError: if its header lacks a column, or it exceeds a bound.
    """
    lines = _Lines(read_lines(path, progress))
    try:
        header = [tidy(cell.text).casefold() for cell in _record(lines, None)[1]]
    except (_RowError, StopIteration) as error:
        raise ImportFileError(
            f"{path}: not {what}: its first line cannot be read ({str(error) or 'it is empty'})"
        ) from error
    places = _places(path, what, header, columns)
    return _rows(path, lines, len(header), columns, places)


def _places(path: Path, what: str, header: list[str], columns: Sequence[str]) -> list[int]:
    missing = [name for name in columns if name not in header]
    if missing:
        raise ImportFileError(
            f"{path}: not {what}: its first line has no column {' and no column '.join(missing)} (columns are "
            "separated by tabs, text is UTF-8)"
        )
    twice = [name for name in columns if header.count(name) > 1]
    if twice:
        raise ImportFileError(f"{path}: its first line has the column {twice[0]} more than once")
    return [header.index(name) for name in columns]


def _rows(path: Path, lines: _Lines, width: int, columns: Sequence[str], places: list[int]) -> Iterator[Row]:
    blank: list[int] = []  # the first of the blank lines just read, and their number
    total = 0
    while lines:
        line, text = lines.next()
        if not text.replace(b'""', b"").strip(b" \t\r\xc2\xa0"):
            blank = [blank[0], blank[1] + 1] if blank else [line, 1]
            if blank[1] > BLANK_LINES_MAX:
                raise ImportFileError(f"{path}: holds more than {BLANK_LINES_MAX:,} blank lines together")
            continue
        if blank:
            yield Row(blank[0], reason=f"1 columns instead of {width}: {blank[1]:,} blank lines before the end")
            blank = []
        lines.put_back([(line, text)])
        total += 1
        if total > ROWS_MAX:
            raise ImportFileError(f"{path}: holds more than {ROWS_MAX:,} rows")
        try:
            line, cells = _record(lines, width)
            yield Row(line, tuple(_text(cells[place], name) for place, name in zip(places, columns, strict=True)))
        except _RowError as error:
            yield Row(line, reason=str(error))


def _text(cell: _Cell, name: str) -> str:
    if '"' in cell.text and not cell.quoted:
        raise _RowError(f"{name} has a stray quote: {cell.text[:80]!r}")
    return tidy(cell.text)


class _Lines:
    """Lines with their numbers, of which some may be put back."""

    def __init__(self, lines: Iterator[tuple[int, bytes]]) -> None:
        self._lines = lines
        self._waiting: deque[tuple[int, bytes]] = deque()

    def __bool__(self) -> bool:
        if not self._waiting:
            self._waiting.extend(line for line in [next(self._lines, None)] if line is not None)
        return bool(self._waiting)

    def next(self) -> tuple[int, bytes]:
        """The next line.

        Raises:
            StopIteration: if there is none.
        """
        return self._waiting.popleft() if self._waiting else next(self._lines)

    def put_back(self, lines: Sequence[tuple[int, bytes]]) -> None:
        """Give these next, in their order."""
        self._waiting.extendleft(reversed(lines))


def _record(lines: _Lines, width: int | None) -> tuple[int, list[_Cell]]:
    """The next row, with the line where it begins; it goes over several lines if a quote is open at an end of one.

    If it cannot be read only its first line is taken: what follows is tried as a row of its own.

    Raises:
        _RowError: if it cannot be read, or has not ``width`` cells.
        StopIteration: if there is no line left.
    """
    line, first = lines.next()
    text = _decoded(first)
    if line == 1:
        text = text.removeprefix("\ufeff")
    try:
        return line, _of_width(_split(text), width)
    except _OpenQuoteError as error:
        taken: list[tuple[int, bytes]] = []
        cells = _over_lines(text, lines, taken)
        if cells is None or (width is not None and len(cells) != width):
            lines.put_back(taken)
            raise _RowError(str(error)) from error
        return line, cells


def _over_lines(text: str, lines: _Lines, taken: list[tuple[int, bytes]]) -> list[_Cell] | None:
    """The cells of a row that begins with ``text`` and ends on a later line, None if it does not. Notes what it took.

    A cell over several lines has no tabs: where one seems to, a quote was forgotten.
    """
    while lines and len(taken) < CELL_LINES_MAX and len(text) < ROW_CHARS_MAX:
        taken.append(lines.next())
        try:
            text += "\n" + _decoded(taken[-1][1])
            cells = _split(text) if b'"' in taken[-1][1] else None
        except _OpenQuoteError:
            continue
        except _RowError:
            return None
        if cells is not None:
            return None if any("\n" in cell.text and "\t" in cell.text for cell in cells) else cells
    return None


def _decoded(line: bytes) -> str:
    try:
        return line.decode("utf-8")
    except UnicodeDecodeError as error:
        utf_16 = line.startswith((b"\xff\xfe", b"\xfe\xff"))
        hint = "; it looks like UTF-16 (Unicode Text in Excel)" if utf_16 else ""
        raise _RowError(f"not UTF-8: {error.reason}{hint}") from error


def _of_width(cells: list[_Cell], width: int | None) -> list[_Cell]:
    if width is None:
        return cells
    if len(cells) < width or any(cell.text.strip() for cell in cells[width:]):
        raise _RowError(f"{len(cells)} columns instead of {width}")
    return cells[:width]


def _split(text: str) -> list[_Cell]:
    """The cells of a row.

    Raises:
        _OpenQuoteError: if its last quote is not closed.
        _RowError: if something follows a quote that is closed.
    """
    if '"' not in text:
        return [_Cell(cell, quoted=False) for cell in text.split("\t")]
    cells: list[_Cell] = []
    at = 0
    while True:
        found = _CELL.match(text, at)
        if found is None:  # cannot be: its second form takes anything
            raise _RowError("cannot be read")
        quoted, plain = found.groups()
        if quoted is None and plain.startswith('"'):
            if _CLOSED.match(text, at):
                raise _RowError(f"a quote is closed before the end of its cell: {plain[:80]!r}")
            raise _OpenQuoteError(f"a quote is opened and not closed: {plain[:80]!r}")
        cells.append(_Cell(plain, quoted=False) if quoted is None else _Cell(quoted.replace('""', '"'), quoted=True))
        at = found.end()
        if text[at - 1 : at] != "\t" or at == found.start():
            return cells
