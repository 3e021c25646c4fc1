"""Rows as columns, each sent to Postgres as one text.

The driver would look at every element of an array several times, which costs a section actor more than deciding does.
So a statement says ``numbers($1)`` and ``texts($2)`` where it wants arrays, and `spelt_out` makes SQL of it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Any

SEPARATOR, NOTHING = "\x1f", "\x1e"
"""Between texts that are sent as one, and in place of a NULL: control characters, which no text of ours contains."""


def spelt_out(statement: str) -> str:
    """The statement as Postgres understands it."""
    statement = re.sub(r"numbers\((\$\d+)\)", r"\1::text::bigint[]", statement)
    return re.sub(r"texts\((\$\d+)\)", r"string_to_array(\1::text, E'\\x1f', E'\\x1e')", statement)


def as_columns(rows: Iterable[Sequence[Any]], kinds: str) -> list[str]:
    """Rows as parameters, one for each letter of ``kinds``: ``n`` numbers or truth values, ``t`` texts."""
    columns: Sequence[Sequence[Any]] = list(zip(*rows, strict=True)) or [()] * len(kinds)
    return [numbers(column) if kind == "n" else texts(column) for column, kind in zip(columns, kinds, strict=True)]


def numbers(column: Sequence[int | None]) -> str:
    """Numbers as an array literal."""
    return "{" + ",".join(map(str, column)).replace("None", "NULL") + "}"


def texts(column: Sequence[str | None]) -> str:
    """Texts as one.

    Raises:
        ValueError: if they could not be told apart again.
    """
    together = SEPARATOR.join([NOTHING if text is None else text for text in column])
    if column and (not together or together.count(SEPARATOR) != len(column) - 1):
        raise ValueError("a text to be stored contains a control character, or is empty and alone")
    return together
