"""SQL for what people type and read: texts without case and accents, codes in the order in which people count.

It needs no extension of Postgres and no column of its own. Texts that are ASCII, as most are, take the short way.
"""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa

Text = sa.ColumnElement[Any]


def _constant(sql: str) -> Text:
    return sa.literal_column(sql, sa.Text)


NFKD = _constant("NFKD")
MARKS = _constant("'[\u0300-\u036f]+'")
"""The accents and dots that normalisation takes off their letters."""
STROKED, UNSTROKED = _constant("'ØøŁłĐđı'"), _constant("'OoLlDdi'")
"""Letters that normalisation does not take apart."""
SEPARATORS = _constant("' -.\u2010\u2012\u2013\u2014\u2212'")
"""What may stand between the parts of a code: spaces, hyphens, the dashes that phones make of them."""
DIGITS, HASHES = _constant("'0123456789'"), _constant("'##########'")
EMPTY = _constant("''")


def folded(text: Text) -> Text:
    """The text in small letters without accents."""
    bare = sa.func.regexp_replace(sa.func.normalize(text, NFKD), MARKS, EMPTY, _constant("'g'"))
    bare = sa.func.lower(sa.func.translate(bare, STROKED, UNSTROKED))
    bare = sa.func.replace(bare, _constant("'ß'"), _constant("'ss'"))
    return sa.case((sa.func.octet_length(text) == sa.func.length(text), sa.func.lower(text)), else_=bare)


def compact(text: Text) -> Text:
    """The same without spaces and hyphens: how MAT 101, MAT-101 and mat101 are alike."""
    return sa.func.translate(folded(text), SEPARATORS, EMPTY)


def contains(text: Text, wanted: Text) -> sa.ColumnElement[bool]:
    """Whether ``wanted``, which does not depend on the row, is in the text. It is computed once."""
    once = sa.select(wanted).scalar_subquery()
    return sa.func.strpos(text, once) > 0


def counting_order(code: Text) -> tuple[Text, ...]:
    """What codes are sorted by so that CS 2 comes before CS 12: letters, how long the number is, the whole code.

    The whole code makes the order total, and all are compared alike in every database: a page may begin after any code.
    """
    letters = sa.func.split_part(sa.func.translate(code, DIGITS, HASHES), _constant("'#'"), 1)
    digits = sa.func.length(code) - sa.func.length(sa.func.translate(code, DIGITS, EMPTY))
    return sa.collate(folded(letters), "C"), digits, sa.collate(code, "C")


def given(text: str) -> Text:
    """A text from outside, for the functions of this module."""
    return sa.cast(text, sa.Text)
