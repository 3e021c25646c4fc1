"""The schedule: when registration opens, and how many nodes are needed by then.

``2027-01-15T08:00-08:00 8 nodes 15 min ahead for 3 h``; several are separated by ``;``. The time needs an offset from
UTC. The defaults are 15 minutes ahead and two hours.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime

AHEAD_MIN = 15
LENGTH_S = 2 * 3600.0
SYNTAX = "TIME N nodes [M min ahead] [for N h|min], as in: 2027-01-15T08:00-08:00 8 nodes 15 min ahead for 3 h"

_ENTRY = re.compile(
    r"(?P<at>\S+)\s+(?P<nodes>\d+)\s+nodes?"
    r"(?:\s+(?P<ahead>\d+)\s+min\s+ahead)?"
    r"(?:\s+for\s+(?P<length>\d+)\s+(?P<unit>min|h))?"
)


@dataclass(frozen=True, slots=True)
class Opening:
    """An opening of registration: ``nodes`` are needed from ``starts_at`` to ``ends_at``. Times are Unix seconds."""

    opens_at: float
    nodes: int
    starts_at: float
    ends_at: float

    def covers(self, now: float) -> bool:
        """Whether its nodes are needed now."""
        return self.starts_at <= now < self.ends_at


def parse_schedule(text: str) -> tuple[Opening, ...]:
    """The openings in ``text``, the earliest first.

    Raises:
        ValueError: naming the wrong entry and the syntax.
    """
    entries = [part.strip() for part in text.split(";") if part.strip()]
    return tuple(sorted((_parse(entry) for entry in entries), key=lambda one: one.starts_at))


def _parse(entry: str) -> Opening:
    match = _ENTRY.fullmatch(entry)
    if match is None:
        raise ValueError(f"{entry!r} is not understood; write {SYNTAX}")
    try:
        at = datetime.fromisoformat(match["at"])
    except ValueError as error:
        raise ValueError(f"{match['at']!r} is no time; write {SYNTAX}") from error
    if at.tzinfo is None:
        raise ValueError(f"{match['at']!r} needs an offset from UTC, such as -08:00 or Z")
    nodes = int(match["nodes"])
    if nodes < 1:
        raise ValueError(f"{entry!r}: at least 1 node")
    length_s = LENGTH_S
    if match["length"] is not None:
        length_s = int(match["length"]) * (3600.0 if match["unit"] == "h" else 60.0)
    opens_at = at.timestamp()
    ahead_s = int(match["ahead"] or AHEAD_MIN) * 60.0 if match["ahead"] != "0" else 0.0
    return Opening(opens_at, nodes, opens_at - ahead_s, opens_at + length_s)


def scheduled(openings: Iterable[Opening], now: float) -> tuple[int, str]:
    """How many nodes the schedule wants now, and why; 0 if it wants none."""
    due = max((one for one in openings if one.covers(now)), key=lambda one: one.nodes, default=None)
    if due is None:
        return 0, ""
    opens = datetime.fromtimestamp(due.opens_at, UTC).isoformat(timespec="minutes")
    return due.nodes, f"registration opens at {opens}: {due.nodes} nodes"
