"""What a check found, and what a check is."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import asyncpg

ROWS_MAX = 20
"""Rows kept of a finding; the total says how many there are."""

FindingRow = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Finding:
    """An invariant that does not hold, with up to 20 of the rows that show it."""

    invariant: str
    title: str
    total: int
    rows: list[FindingRow]


class Checked(NamedTuple):
    """One check that is done: for progress, and for the table of what was looked at."""

    invariant: str
    title: str
    seconds: float
    total: int
    note: str | None


CheckProgress = Callable[[Checked], None]


@dataclass(slots=True)
class Offences:
    """Collects the rows against one invariant: the first 20, and how many there are."""

    invariant: str
    title: str
    total: int = 0
    rows: list[FindingRow] = field(default_factory=list)
    note: str | None = None

    def add(self, **row: Any) -> None:
        """One more row that offends."""
        self.total += 1
        if len(self.rows) < ROWS_MAX:
            self.rows.append(row)

    def finding(self) -> Finding | None:
        """The finding, if there is something to tell."""
        return Finding(self.invariant, self.title, self.total, self.rows) if self.total else None


Check = Callable[[asyncpg.Connection], Awaitable[list[Offences]]]
"""Looks at one snapshot of the database; answers with one entry per invariant, offended or not."""
