"""One supervisor a home: an advisory lock on a file, which the kernel drops with its holder, however that ends."""

from __future__ import annotations

import asyncio
import fcntl
import os
from pathlib import Path

from cluster.embedded.errors import ServicesAlreadyRunning


class HomeLock:
    """Holds ``run/lock`` of a home; the file has the holder's process id."""

    def __init__(self, home: Path, descriptor: int) -> None:
        self._home = home
        self._descriptor = descriptor

    @classmethod
    async def acquire(cls, home: Path, path: Path) -> HomeLock:
        """Take the lock.

        Raises:
            ServicesAlreadyRunning: another process, or another object of this one, has it.
        """
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            # The holder writes its id just after it has got the lock.
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
        """Give the lock up. The file stays: removing it would let two holders lock two files of one name."""
        os.ftruncate(self._descriptor, 0)
        os.close(self._descriptor)


def read_pid(descriptor: int) -> int | None:
    """The process id in a lock file, if it holds one."""
    text = os.pread(descriptor, 32, 0).decode("ascii", "replace").strip()
    return int(text) if text.isdigit() else None
