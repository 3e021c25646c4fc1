"""Constrained types that several schemas share."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta

Id = Annotated[int, Meta(ge=1, le=2**63 - 1)]

# Postgres has no NUL in text; a query with one would fail there.
FilterText = Annotated[str, Meta(max_length=100, pattern=r"^[^\x00]*$")]

TimeOfDay = Annotated[str, Meta(pattern=r"^([01]\d|2[0-3]):[0-5]\d$|^24:00$", examples=["09:30"])]


def time_of_day(minute: int) -> str:
    """Minutes from midnight as ``HH:MM``."""
    return f"{minute // 60:02}:{minute % 60:02}"


def week_numbers(weeks: int) -> list[int]:
    """The weeks of term in a bit mask, the first week being 1."""
    return [index + 1 for index in range(weeks.bit_length()) if weeks >> index & 1]
