"""The time of the machine."""

from __future__ import annotations

import time


class SystemClock:
    """Implements ``allocator.ports.Clock``."""

    def now(self) -> float:
        """Unix seconds."""
        return time.time()

    def monotonic(self) -> float:
        """Seconds that never go back."""
        return time.monotonic()
