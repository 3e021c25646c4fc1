"""Codes as people type them: what is written differently and means the same, and what only looks the same.

Codes are kept ``tidy``, without what nobody means (allocator/model/typed_text.py).
``fold`` gives codes that a reader takes for the same one the same key. Two codes with one key are never joined by
guessing: the rows of the rarer one are refused, and name the other.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Iterable, Iterator

from allocator.model.typed_text import tidy

CODE_CHARS_MAX = 160
"""Longest code. Longer ones do not fit an index of Postgres."""

# Lower-case letters of Cyrillic and Greek that look like Latin ones, in lower or in upper case; then dashes and quotes.
_LOOK_ALIKE = str.maketrans(
    "\u0430\u0432\u0435\u0455\u0456\u0458\u043a\u043c\u043d\u043e\u0440\u0441\u0442\u0443\u0445\u0501\u051b\u051d\u04bb"
    "\u03b1\u03b2\u03b5\u03b6\u03b7\u03b9\u03ba\u03bc\u03bd\u03bf\u03c1\u03c4\u03c5\u03c7\u0131"
    "\u2010\u2011\u2012\u2013\u2014\u2015\u2212\u2018\u2019",
    "abesijkmhopctyxdqwhabezhikmnoptyxi-------''",
)

# Printable by their category, and yet nothing to see: joiners, fillers, selectors of a variant.
_UNSEEN = re.compile("[\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180d\u3164\ufe00-\ufe0f\uffa0]")
_LETTERS = re.compile(r"[^\W\d_]+")


def fold(text: str) -> str:
    """A key that is the same for texts which differ by case, by compatibility forms or by letters that look alike."""
    if text.isascii():
        return text.lower()
    return unicodedata.normalize("NFKD", text).casefold().translate(_LOOK_ALIKE)


def fold_number(text: str) -> str:
    """The same, for ids: without the leading zeros that spreadsheets take from numbers."""
    folded = fold(text)
    return (folded.lstrip("0") or "0") if folded.isascii() and folded.isdigit() else folded


def unreadable(text: str) -> str | None:
    """Why ``text`` is not one that a person can read off: it has invisible characters. None if it has none."""
    if text.isprintable() and (text.isascii() or not _UNSEEN.search(text)):
        return None
    odd = next(char for char in text if not char.isprintable() or _UNSEEN.match(char))
    return f"it is not text: it has the invisible character {_named(odd)}"


def not_a_code(text: str) -> str | None:
    """Why ``text`` cannot be a code; None if it can.

    Letters of two scripts that look alike are refused even if nothing else is spelled like it: whoever types what they
    see would not find it.
    """
    if not text:
        return "it is empty"
    if len(text) > CODE_CHARS_MAX:
        return f"it is longer than {CODE_CHARS_MAX} characters"
    if text.isascii() and text.isprintable():
        return None
    return unreadable(text) or _two_scripts(text)


def _two_scripts(text: str) -> str | None:
    """A word of letters that all look Latin, beside or among Latin ones. A word like "\u0424\u0438\u0437" is none."""
    latin, foreign = False, ""
    for word in _LETTERS.findall(unicodedata.normalize("NFKD", text)):
        alike = [char for char in word if _looks_latin(char)]
        has_latin = any(char.isascii() for char in word)
        latin = latin or has_latin
        if alike and (has_latin or len(alike) == len(word)):
            foreign = foreign or alike[0]
    return f"it mixes Latin letters with {_named(foreign)}, which looks like one" if latin and foreign else None


def _looks_latin(char: str) -> bool:
    return not char.isascii() and ord(char.lower()[0]) in _LOOK_ALIKE


def _named(char: str) -> str:
    return f"U+{ord(char):04X} {unicodedata.name(char, '')}".rstrip()


def difference(text: str, other: str) -> str:
    """How two texts of one key differ, in words."""
    if text.casefold() == other.casefold():
        return "by case only"
    if text.isdigit() and other.isdigit():
        return "by leading zeros only"
    if tidy(text) == tidy(other):
        return "by spaces or by how letters are composed only"
    mine, theirs = set(text) - set(other), set(other) - set(text)
    odd = sorted(char for char in mine | theirs if not char.isascii())
    return f"by characters that look alike only ({', '.join(map(_named, odd))})" if odd else "by case only"


class Spellings:
    """How often each code of one kind is written, by what a reader takes for the same one; and where it is first."""

    def __init__(self, key: Callable[[str], str] = fold) -> None:
        self._key = key
        self._found: dict[str, dict[str, list[int]]] = {}

    @classmethod
    def of(cls, codes: Iterable[tuple[str, int]], key: Callable[[str], str] = fold) -> Spellings:
        """The spellings of codes with their lines."""
        made = cls(key)
        for code, line in codes:
            counted = made._found.setdefault(key(code), {}).setdefault(code, [0, line])
            counted[0] += 1
        return made

    def usual(self, code: str) -> tuple[str, int]:
        """The commonest spelling of ``code``, the first of equally common ones, and the line where it is first."""
        found = self._found[self._key(code)]
        spelling = max(found, key=lambda one: found[one][0])
        return spelling, found[spelling][1]

    def twice(self) -> Iterator[str]:
        """Codes that are spelled in another way more often."""
        for found in self._found.values():
            if len(found) > 1:
                usual = self.usual(next(iter(found)))[0]
                yield from (code for code in found if code != usual)
