"""A circuit breaker: after a failure a service is not called for a while, which grows with each further failure.

Then single calls are let through to see whether it is back. So a service that is away or slow costs nothing.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable

log = logging.getLogger(__name__)


class Breaker:
    """The state of one service. It makes no calls itself, and is used by one thread.

    Args:
        service: what is called, for the log.
        purpose: what the service is used for, for the log.
        pause_min_s, pause_max_s: how long no call is made after the first failure, and after many.
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
        """Whether to call now. After a failure, one call at a time is let through as a probe."""
        now = self._monotonic()
        if not self.is_away:
            return True
        if now < self.closed_until:
            return False
        self.closed_until = now + timeout_s + self._pause_min_s
        return True

    def failed(self, error: Exception, *, is_probe: bool) -> None:
        """Note that a call failed. ``is_probe``: it was let through after a failure."""
        if self.is_away and not is_probe:
            return  # it was under way when another call failed: the same outage, not a further failure
        if not self.is_away:
            # Logged once per outage.
            reason = str(error) or type(error).__name__
            log.warning("%s is away, going on without %s: %s", self._service, self._purpose, reason)
        self._pause_s = min(max(self._pause_s * 2, self._pause_min_s), self._pause_max_s)
        self.closed_until = self._monotonic() + self._pause_s

    def succeeded(self) -> None:
        """Note that a call was answered."""
        if self.is_away:
            log.info("%s is back: %s", self._service, self._purpose)
        self._pause_s = 0.0
