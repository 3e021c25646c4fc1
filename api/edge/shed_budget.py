"""The budget for refusals: how many may be written, in proportion to the decisions that are made meanwhile.

A refusal costs about a tenth of a decision, most of it in the kernel. So at ten times the load that fits, refusals
would take all the time there is, however cheap they are. Beyond this budget a refusal waits for a moment instead, and
with it a client that would ask again at once. The proportion is one of costs, so it holds on fast and slow machines.
"""

from __future__ import annotations

import time
from collections.abc import Callable

PER_DECISION = 0.5
PER_S = 5_000.0
"""The least, however little is decided: while Postgres is away nothing is, and there is time to refuse."""
WINDOW_S = 0.1
"""For how long it counts that more was decided than `PER_S` stands for."""
BURST = 2_000.0
"""A crowd that comes at one moment is turned away at that moment."""


class ShedBudget:
    """A token bucket that is filled by decisions, and by time while these are few.

    Args:
        now: a monotonic clock.
    """

    __slots__ = ("_filled_at", "_for_decisions", "_now", "_tokens")

    def __init__(self, *, now: Callable[[], float] = time.monotonic) -> None:
        self._now = now
        self._filled_at = now()
        self._tokens = BURST
        self._for_decisions = 0.0  # tokens given for decisions since it was last filled by time

    def decided(self) -> None:
        """One decision was made."""
        self._tokens = min(BURST, self._tokens + PER_DECISION)
        self._for_decisions += PER_DECISION

    def take(self) -> bool:
        """Whether one more refusal may be written now. If so, it is counted."""
        if self._tokens < 1.0:
            self._fill()
            if self._tokens < 1.0:
                return False
        self._tokens -= 1.0
        return True

    def _fill(self) -> None:
        now = self._now()
        lacking = (now - self._filled_at) * PER_S - self._for_decisions
        if lacking > 0.0 or now - self._filled_at > WINDOW_S:
            self._tokens = min(BURST, self._tokens + max(0.0, lacking))
            self._filled_at, self._for_decisions = now, 0.0
