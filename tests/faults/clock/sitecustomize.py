"""A wall clock that can be set. Python imports this by itself in every process that has its directory in PYTHONPATH.

The file that SEATLINE_TEST_CLOCK names holds by how many seconds ``time.time`` is wrong.
"""

from __future__ import annotations

import contextlib
import os
import time

_LOOK_EVERY_S = 0.1


class _WrongClock:
    """Implements ``time.time``."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._true_time = time.time
        self._offset_s = 0.0
        self._look_at_s = 0.0

    def __call__(self) -> float:
        now = time.monotonic()
        if now >= self._look_at_s:
            self._look_at_s = now + _LOOK_EVERY_S
            with contextlib.suppress(OSError, ValueError), open(self._path, encoding="ascii") as file:  # noqa: PTH123
                self._offset_s = float(file.read())
        return self._true_time() + self._offset_s


if "SEATLINE_TEST_CLOCK" in os.environ:
    time.time = _WrongClock(os.environ["SEATLINE_TEST_CLOCK"])
