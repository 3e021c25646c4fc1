"""How many answers may be spent on turning away: in proportion to the decisions that are made meanwhile.

Turning away costs about a tenth of deciding, most of it in the kernel. So at ten times the load that fits it would
take all the time there is, however cheap it is made. Beyond this budget answers wait a moment instead, and with them
the clients that would ask again at once. The proportion is one of costs, so it holds on fast and slow machines alike.
"""

from __future__ import annotations

import time
from collections.abc import Callable

PER_DECISION = 0.5
PER_S = 5_000.0
"""At least, however little is decided: while Postgres is away nothing is, and there is time to say so."""
WINDOW_S = 0.1
"""After so long it no longer counts that more than enough was decided."""
BURST = 2_000.0
"""A crowd that comes at one moment is turned away at that moment."""


class ShedBudget:
    """A token bucket that is filled by decisions, or by time where these are few.

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
        """Whether one more answer may be given now; if so, it is counted."""
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
