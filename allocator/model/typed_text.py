"""What people and their spreadsheets type, as it is kept: spaces, and letters that can be composed in two ways."""

from __future__ import annotations

import unicodedata


def tidy(text: str) -> str:
    """``text`` composed (NFC), without spaces around it and with single ones inside. Any Unicode space is a space."""
    return " ".join(unicodedata.normalize("NFC", text).split())
