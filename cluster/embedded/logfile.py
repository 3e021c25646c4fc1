"""The log of a server: kept over runs, rotated when it is large, its end shown when a start fails."""

from __future__ import annotations

from pathlib import Path

_SIZE_MAX = 20 * 1024 * 1024
_TAIL_LINES = 20
_TAIL_BYTES = 16 * 1024


class LogFile:
    """The file to which the output of a server is appended."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._begin = 0

    def rotate(self) -> None:
        """Rotate a large file, and note where the lines of this start begin. Call it before each start."""
        size = self.path.stat().st_size if self.path.exists() else 0
        if size > _SIZE_MAX:
            self.path.replace(self.path.with_suffix(".log.1"))
            size = 0
        self._begin = size

    def tail(self) -> str:
        """The last lines since the start, to be appended to an error message."""
        try:
            with self.path.open("rb") as file:
                size = file.seek(0, 2)
                file.seek(max(self._begin, size - _TAIL_BYTES))
                lines = file.read().decode("utf-8", "replace").splitlines()[-_TAIL_LINES:]
        except OSError:
            lines = []
        shown = "".join(f"\n  {line}" for line in lines)
        return f"; the end of {self.path}:{shown}" if shown else f"; {self.path} says nothing"
