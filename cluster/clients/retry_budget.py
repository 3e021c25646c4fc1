"""How often a client may ask again: in proportion to what it asks for the first time.

Without it, every client that is turned away asks again, and a server that has too much to do gets several times as
much. With it, retries add at most ``ratio`` to the load, beside a reserve for the short failure that happens now and
then (Google's *Site Reliability Engineering*, "Handling Overload"; Finagle's ``RetryBudget``).
"""

from __future__ import annotations

import time
from collections.abc import Callable


class RetryBudget:
    """Shared by all that one client does at a time.

    Args:
        ratio: retries for each first try.
        per_s: retries a second on top, so that the last few requests are not left alone.
        reserve: retries that may be saved up.
        now: a monotonic clock.
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
        """Something is asked for the first time."""
        self._left = min(self._reserve, self._left + self._ratio)

    def retry(self) -> float:
        """Take a retry out of the budget. Gives the seconds to wait before it may be made."""
        now = self._now()
        self._left = min(self._reserve, self._left + (now - self._counted_at) * self._per_s) - 1.0
        self._counted_at = now
        return max(0.0, -self._left / self._per_s)
