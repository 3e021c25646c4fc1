"""Codes that are written differently and mean the same, and codes that only look the same."""

from __future__ import annotations

import unicodedata

import pytest

from allocator.model.typed_text import tidy
from persistence.imports.spelling import Spellings, difference, fold, fold_number, not_a_code

CYRILLIC_A = "\u0410"


@pytest.mark.parametrize(
    "written", ["TRIM 1", "TRIM 1 ", "\tTRIM   1", "TRIM\u00a01", "\u3000TRIM\u2007 1\u00a0", "TRIM \n 1"]
)
def test_spaces_that_nobody_means_are_taken_away(written: str) -> None:
    assert tidy(written) == "TRIM 1"


def test_letters_are_composed() -> None:
    assert tidy(unicodedata.normalize("NFD", "ÉCO 101")) == "ÉCO 101"


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("TRIM 1", "trim 1"),
        ("A00", f"{CYRILLIC_A}00"),
        ("A00", "\u039100"),
        ("CSE 10", "\uff23\uff33\uff25 10"),
        ("A-1", "A\u20131"),
        ("STRASSE 1", "straße 1"),
    ],
)
def test_what_a_reader_takes_for_the_same_has_one_key(one: str, other: str) -> None:
    assert fold(one) == fold(other)


@pytest.mark.parametrize(("one", "other"), [("ECO 1", "ÉCO 1"), ("A00", "AO0"), ("CSE 11", "CSE II"), ("1", "01")])
def test_what_is_different_has_two(one: str, other: str) -> None:
    assert fold(one) != fold(other)


def test_spreadsheets_take_zeros_from_ids() -> None:
    assert fold_number("000001") == fold_number("1")
    assert fold_number("0") == fold_number("000")
    assert fold_number("A01") != fold_number("A1")


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "empty"),
        ("x" * 161, "longer than 160"),
        ("A\u200b00", "U+200B ZERO WIDTH SPACE"),
        ("A\u202e00", "U+202E RIGHT-TO-LEFT OVERRIDE"),
        ("A\0", "U+0000"),
        ("A\ufe0f", "U+FE0F"),
        ("\u0421SE 100", "U+0421 CYRILLIC CAPITAL LETTER ES"),
        (f"CSE {CYRILLIC_A}00", "U+0410 CYRILLIC CAPITAL LETTER A"),
    ],
)
def test_what_cannot_be_read_off_is_no_code(text: str, why: str) -> None:
    assert why in (not_a_code(text) or "")


@pytest.mark.parametrize(
    "text", ["CSE 100", "ÉCO 101", "ФИЗ 1", "\u041c\u0410\u0422 101", "数学 1", "Физика II", "A-\u03a9", "Übung 5"]
)
def test_codes_in_other_scripts_are_codes(text: str) -> None:
    assert not_a_code(tidy(text)) is None


def test_the_commonest_spelling_is_the_usual_one() -> None:
    spellings = Spellings.of([("cse 1", 2), ("CSE 1", 3), ("CSE 1", 4), ("MAT 1", 5)])
    assert spellings.usual("cse 1") == ("CSE 1", 3)
    assert list(spellings.twice()) == ["cse 1"]
    assert list(Spellings.of([("a", 2), ("A", 3)]).twice()) == ["A"], "the first of two that are equally common"


def test_the_difference_is_said_in_words() -> None:
    assert difference("a", "A") == "by case only"
    assert difference("1", "001") == "by leading zeros only"
    assert "U+0410 CYRILLIC CAPITAL LETTER A" in difference(f"{CYRILLIC_A}00", "A00")
    assert "composed" in difference("E\u0301CO", "ÉCO")
