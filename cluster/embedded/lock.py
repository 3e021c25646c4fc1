"""One supervisor for a home: an advisory lock on a file. The kernel releases it with its holder, however that ends."""

from __future__ import annotations

import asyncio
import fcntl
import os
from pathlib import Path

from cluster.embedded.errors import ServicesAlreadyRunning


class HomeLock:
    """Holds ``run/lock`` of a home. The file contains the process id of the holder."""

    def __init__(self, home: Path, descriptor: int) -> None:
        self._home = home
        self._descriptor = descriptor

    @classmethod
    async def acquire(cls, home: Path, path: Path) -> HomeLock:
        """Take the lock.

        Raises:
            ServicesAlreadyRunning: if another process, or another object of this process, has it.
        """
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            # The holder writes its id just after taking the lock.
            pid = read_pid(descriptor)
            if pid is None:
                await asyncio.sleep(0.1)
                pid = read_pid(descriptor)
            os.close(descriptor)
            raise ServicesAlreadyRunning(home, pid) from error
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)
        return cls(home, descriptor)

    def release(self) -> None:
        """Release the lock. The file stays: if it were removed, two holders could lock two files of one name."""
        os.ftruncate(self._descriptor, 0)
        os.close(self._descriptor)


def read_pid(descriptor: int) -> int | None:
    """The process id in a lock file, if it holds one."""
    text = os.pread(descriptor, 32, 0).decode("ascii", "replace").strip()
    return int(text) if text.isdigit() else None
