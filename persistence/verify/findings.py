"""Checks and their findings."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import asyncpg

ROWS_MAX = 20
"""Rows kept of a finding; its total counts all of them."""

FindingRow = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Finding:
    """An invariant that does not hold, with up to 20 of the rows that violate it."""

    invariant: str
    title: str
    total: int
    rows: list[FindingRow]


class Checked(NamedTuple):
    """One finished check, for progress and for the table of all checks."""

    invariant: str
    title: str
    seconds: float
    total: int
    note: str | None


CheckProgress = Callable[[Checked], None]


@dataclass(slots=True)
class Offences:
    """Collects the rows that violate one invariant: the first 20, and how many there are."""

    invariant: str
    title: str
    total: int = 0
    rows: list[FindingRow] = field(default_factory=list)
    note: str | None = None

    def add(self, **row: Any) -> None:
        """Add a row."""
        self.total += 1
        if len(self.rows) < ROWS_MAX:
            self.rows.append(row)

    def finding(self) -> Finding | None:
        """The finding; None if no row was added."""
        return Finding(self.invariant, self.title, self.total, self.rows) if self.total else None


Check = Callable[[asyncpg.Connection], Awaitable[list[Offences]]]
"""Reads one snapshot of the database; returns one entry for each invariant, violated or not."""
