"""What people type, read as they mean it: spaces at the ends, composed or decomposed letters, case and accents."""

from __future__ import annotations

import unicodedata


def tidy(text: str) -> str:
    """The text without spaces around it, with single spaces in it, and with its letters composed (NFC)."""
    return " ".join(unicodedata.normalize("NFC", text).split())


def folded(text: str) -> str:
    """What is alike in two texts that differ by case, accents, spaces and hyphens only."""
    letters = unicodedata.normalize("NFKD", text).casefold()
    return "".join(one for one in letters if one.isalnum())
