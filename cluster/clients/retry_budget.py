"""A retry budget: a client may retry in proportion to its first tries.

Without one, every client that is turned away retries, and an overloaded server gets several times its load. With one,
retries add at most ``ratio`` to the load, apart from a reserve for short failures (Google's *Site Reliability
Engineering*, "Handling Overload"; Finagle's ``RetryBudget``).
"""

from __future__ import annotations

import time
from collections.abc import Callable


class RetryBudget:
    """One budget is shared by all requests of a client.

    Args:
        ratio: retries earned by each first try.
        per_s: retries earned per second in addition, so that the last few requests get theirs.
        reserve: how many unused retries are kept.
        now: monotonic seconds.
    """

    def __init__(
        self,
        ratio: float = 0.2,
        per_s: float = 20.0,
        reserve: float = 100.0,
        *,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self._ratio = ratio
        self._per_s = per_s
        self._reserve = reserve
        self._now = now
        self._left = reserve
        self._counted_at = now()

    def first_try(self) -> None:
        """Count a first try."""
        self._left = min(self._reserve, self._left + self._ratio)

    def retry(self) -> float:
        """Take a retry out of the budget.

        Returns:
            how many seconds to wait before making it.
        """
        now = self._now()
        self._left = min(self._reserve, self._left + (now - self._counted_at) * self._per_s) - 1.0
        self._counted_at = now
        return max(0.0, -self._left / self._per_s)
