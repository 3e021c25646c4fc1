"""Forwards commands for sections that were handed over, for the short time in which nobody else can tell where to."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

FORWARDING_S = 2.0
"""From a section's release to its successor's lease it takes milliseconds. After this time the lease answers alone.

Much shorter than a request's deadline: should the successor never come, or should two actors name each other because
a controller died between two steps, the request is still served in time.
"""


class Forwarding:
    """Names of successors by section id, each for a limited time in monotonic seconds."""

    def __init__(self) -> None:
        self._successors: dict[int, tuple[str, float]] = {}

    def set(self, moves: Mapping[int, str], now: float) -> None:
        """These sections were handed over just now."""
        self._successors = {one: (owner, until) for one, (owner, until) in self._successors.items() if until > now}
        until = now + FORWARDING_S
        self._successors.update({section_id: (owner, until) for section_id, owner in moves.items()})

    def clear(self, section_ids: Iterable[int]) -> None:
        """These are wanted here again."""
        for section_id in section_ids:
            self._successors.pop(section_id, None)

    def among(self, section_ids: Iterable[int], now: float) -> dict[int, str]:
        """The successors of those of the sections that have one."""
        if not self._successors:
            return {}
        found = {}
        for section_id in section_ids:
            successor, until = self._successors.get(section_id, ("", now))
            if until > now:
                found[section_id] = successor
        return found
