"""A circuit breaker: what failed is not tried for a while that grows with each further failure.

Then one call at a time is let through to see whether it is back. So a service that is away or slow costs nothing.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable

log = logging.getLogger(__name__)


class Breaker:
    """The state of one service, for whoever calls it. It does not call by itself, and is used in one thread.

    Args:
        service: what is called, for the log.
        purpose: what it is used for here, for the log.
        pause_min_s, pause_max_s: how long nothing is tried after the first failure, and after many.
    """

    def __init__(
        self,
        service: str,
        purpose: str,
        *,
        pause_min_s: float,
        pause_max_s: float,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._service = service
        self._purpose = purpose
        self._pause_min_s = pause_min_s
        self._pause_max_s = pause_max_s
        self._monotonic = monotonic
        self._pause_s = 0.0
        self.closed_until = 0.0

    @property
    def is_away(self) -> bool:
        """Whether the last call failed."""
        return self._pause_s > 0

    def lets_through(self, timeout_s: float) -> bool:
        """Whether to call now. While a call is tried after a failure, whoever else comes is turned away."""
        now = self._monotonic()
        if not self.is_away:
            return True
        if now < self.closed_until:
            return False
        self.closed_until = now + timeout_s + self._pause_min_s
        return True

    def failed(self, error: Exception, *, is_probe: bool) -> None:
        """Note that a call failed. ``is_probe``: it was let through although the one before had failed."""
        if self.is_away and not is_probe:
            return  # it was under way when another one failed: the same failure, not a further one
        if not self.is_away:
            # Once per outage: what follows is the same news.
            reason = str(error) or type(error).__name__
            log.warning("%s is away, going on without %s: %s", self._service, self._purpose, reason)
        self._pause_s = min(max(self._pause_s * 2, self._pause_min_s), self._pause_max_s)
        self.closed_until = self._monotonic() + self._pause_s

    def succeeded(self) -> None:
        """Note that a call was answered."""
        if self.is_away:
            log.info("%s is back: %s", self._service, self._purpose)
        self._pause_s = 0.0
