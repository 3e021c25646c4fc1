"""Admission: how many enrolments may be under way in this process, namely as many as are decided soon enough.

A rush is let in up to a fixed bound, since a queue that drains is what queues are for. A queue that stands only makes
everybody wait: if even the quickest answer of a while took longer than the target, the bound comes down in proportion,
and it goes up again while people are turned away although answers are quick. This is CoDel's test for a bad queue
(Nichols and Jacobson, 2012), applied to a limit on concurrency.
"""

from __future__ import annotations

import time
from collections.abc import Callable

WINDOW_S = 0.25
LIMIT_FLOOR = 64
"""Never fewer: a dependency that was away may be back, and only answers can tell."""
GROWTH = 1.5


class Admission:
    """Counts the requests under way, and says whether there is room for one more.

    Args:
        limit_max: the most that may ever be under way.
        target_s: how long an answer may take before a queue counts as standing.
        now: a monotonic clock.
    """

    __slots__ = (
        "_floor",
        "_limit_max",
        "_now",
        "_quickest_s",
        "_target_s",
        "_turned_away",
        "_window_ends_at",
        "in_flight",
        "limit",
    )

    def __init__(self, limit_max: int, target_s: float, *, now: Callable[[], float] = time.monotonic) -> None:
        self._limit_max = limit_max
        self._floor = min(LIMIT_FLOOR, limit_max)
        self._target_s = target_s
        self._now = now
        self._window_ends_at = now() + WINDOW_S
        self._quickest_s: float | None = None
        self._turned_away = False
        self.in_flight = 0
        self.limit = limit_max

    def has_room(self) -> bool:
        """Whether one more request may enter. The caller must turn it away if not."""
        if self.in_flight < self.limit:
            return True
        self._turned_away = True
        return False

    def enter(self) -> float:
        """Count one more request as under way.

        Returns:
            The time, which is to be passed to `leave`.
        """
        self.in_flight += 1
        return self._now()

    def leave(self, entered_at: float, *, was_decided: bool) -> None:
        """One request is answered.

        Args:
            entered_at: what `enter` returned.
            was_decided: whether the answer waited for a decision, so that its time says how long the queue is.
        """
        self.in_flight -= 1
        now = self._now()
        if was_decided:
            took_s = now - entered_at
            if self._quickest_s is None or took_s < self._quickest_s:
                self._quickest_s = took_s
        if now >= self._window_ends_at:
            self._adjust()
            self._window_ends_at = now + WINDOW_S

    def _adjust(self) -> None:
        if self._quickest_s is None:
            return
        if self._quickest_s > self._target_s:
            self.limit = max(self._floor, int(self.limit * self._target_s / self._quickest_s))
        elif self._turned_away:
            self.limit = min(self._limit_max, int(self.limit * GROWTH))
        self._quickest_s = None
        self._turned_away = False
