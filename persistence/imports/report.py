"""The report of an import, and the callback for its progress."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import NamedTuple

ImportProgress = Callable[[str, int, int], None]
"""Called with (step, done, total), in the units of the step. ``total`` is 0 while it is not known."""


class ImportFileError(Exception):
    """The file as a whole cannot be imported; nothing was changed. The message says why."""


class SeatsNotChangedError(Exception):
    """All of a file was imported but the seats of some sections. The same import again completes it."""


class Refusal(NamedTuple):
    """A row that was left out. ``line`` counts from 1; it is 0 if the source has no lines."""

    line: int
    reason: str


@dataclass(slots=True)
class Counts:
    """How many rows of one kind were inserted, updated, or already as the source has them."""

    made: int = 0
    changed: int = 0
    unchanged: int = 0

    @property
    def touched(self) -> int:
        """Rows written."""
        return self.made + self.changed


@dataclass(slots=True)
class SeatChanges:
    """Numbers of seats that sections are to get, by section id; and the ids of sections that are closed or opened."""

    capacities: dict[int, int] = field(default_factory=dict)
    closed: list[int] = field(default_factory=list)
    opened: list[int] = field(default_factory=list)


@dataclass(slots=True)
class ImportReport:
    """The result of one import. ``notes`` are further figures, by name; ``remarks`` are sentences for the reader.

    ``seats`` are what is to be changed of sections by commands: see ``load/seat_changes.py``.
    """

    semester: str
    counts: dict[str, Counts] = field(default_factory=dict)
    refusals: list[Refusal] = field(default_factory=list)
    notes: Counter[str] = field(default_factory=Counter)
    remarks: list[str] = field(default_factory=list)
    seats: SeatChanges = field(default_factory=SeatChanges)
    seconds: float = 0.0

    @property
    def changed_anything(self) -> bool:
        """Whether a row was written."""
        return any(one.touched for one in self.counts.values())

    def as_json(self) -> dict[str, object]:
        """The report for ``--json``."""
        return {
            "semester": self.semester,
            "seconds": round(self.seconds, 3),
            "rows": {
                kind: {"made": one.made, "changed": one.changed, "unchanged": one.unchanged}
                for kind, one in self.counts.items()
            },
            "refused": len(self.refusals),
            "refusals": [{"line": one.line, "reason": one.reason} for one in self.refusals],
            "notes": dict(self.notes),
            "remarks": self.remarks,
        }


def no_progress(step: str, done: int, total: int) -> None:
    """An ``ImportProgress`` that does nothing."""
