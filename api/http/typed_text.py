"""Texts that people type, compared as they mean them."""

from __future__ import annotations

import unicodedata


def folded(text: str) -> str:
    """What is alike in two texts that differ by case, accents, spaces and hyphens only."""
    letters = unicodedata.normalize("NFKD", text).casefold()
    return "".join(one for one in letters if one.isalnum())
