"""Errors of the embedded services."""

from __future__ import annotations

from pathlib import Path


class ServiceStartError(Exception):
    """A service is missing or does not start. The message says why, and what to do about it."""


class ServicesAlreadyRunning(Exception):  # noqa: N818  (a state that the caller asks for, like FileExistsError's)
    """Another process runs the services of this home."""

    def __init__(self, home: Path, pid: int | None) -> None:
        self.home = home
        self.pid = pid
        who = f"process {pid}" if pid else "another process"
        super().__init__(
            f"the services of {home} already run under {who}: stop that first, "
            "or choose another directory with SEATLINE_HOME"
        )
