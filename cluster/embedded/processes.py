"""Child processes: starts them so that they end with us, ends them, finds those that a killed supervisor has left."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from cluster.embedded.accounts import ServiceAccount

_POLL_S = 0.02
_LAUNCH = Path(__file__).with_name("launch.py")
_PROC = Path("/proc")

Escalation = Sequence[tuple[signal.Signals, float]]
"""Signals to send in order, each with the seconds to wait for its effect."""


class Child:
    """A process that was started with ``launch``."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        self._process = process

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def exit_status(self) -> int | None:
        """None while it runs; negative if a signal ended it."""
        return self._process.poll()

    async def wait(self, timeout_s: float | None = None) -> int | None:
        """Wait for its end and return its exit status; None if the time is over first."""
        deadline = None if timeout_s is None else time.monotonic() + timeout_s
        while (status := self.exit_status) is None:
            if deadline is not None and time.monotonic() >= deadline:
                return None
            await asyncio.sleep(_POLL_S)
        return status

    async def stop(self, escalation: Escalation) -> None:
        """Send the signals in order until it has ended."""
        for number, timeout_s in escalation:
            if self.exit_status is not None:
                return
            self._process.send_signal(number)
            if await self.wait(timeout_s) is not None:
                return


def launch(
    command: Sequence[str | Path],
    *,
    directory: Path,
    log: Path,
    death_signal: signal.Signals,
    account: ServiceAccount | None = None,
    environment: Mapping[str, str] | None = None,
) -> Child:
    """Start ``command`` in ``directory``, and append its output to ``log``.

    It receives ``death_signal`` when the calling *thread* ends (on Linux), so call this from a thread that lasts. It
    has its own session, so that a Ctrl-C at the terminal does not reach it.
    """
    who = ["-", "-"] if account is None else [str(account.uid), str(account.gid)]
    wrapper = [sys.executable, "-I", "-S", str(_LAUNCH), str(os.getpid()), str(int(death_signal)), *who]
    with log.open("ab") as output:
        process = subprocess.Popen(  # noqa: S603
            [*wrapper, *map(str, command)],
            cwd=directory,
            env=None if environment is None else dict(environment),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
        )
    return Child(process)


def can_find_orphans() -> bool:
    """Whether this system shows the working directories of processes."""
    return (_PROC / "self" / "cwd").exists()


def find_running(directory: Path, programs: Collection[str]) -> list[int]:
    """Ids of the processes of these programs whose working directory is ``directory`` (compared by inode)."""
    if not can_find_orphans() or not directory.exists():
        return []
    wanted = directory.stat()
    found = []
    for entry in _PROC.iterdir():
        if not entry.name.isdigit():
            continue
        try:
            program = str((entry / "exe").readlink()).removesuffix(" (deleted)")
            here = (entry / "cwd").stat()
        except OSError:  # ended meanwhile, or another user's
            continue
        if Path(program).name in programs and (here.st_dev, here.st_ino) == (wanted.st_dev, wanted.st_ino):
            found.append(int(entry.name))
    return found


async def end_orphans(directory: Path, programs: Collection[str], leader: int | None, escalation: Escalation) -> int:
    """End processes in ``directory`` that have lost their supervisor. Call it only while holding the lock of the home.

    Args:
        leader: the parent of the others. While it runs, signals go to it alone, since its workers follow it.

    Returns:
        how many processes were found.
    """
    found = find_running(directory, programs)
    for number, timeout_s in escalation:
        running = find_running(directory, programs)
        for pid in [leader] if leader is not None and leader in running else running:
            with suppress(ProcessLookupError):
                os.kill(pid, number)
        deadline = time.monotonic() + timeout_s
        while find_running(directory, programs):
            if time.monotonic() >= deadline:
                break
            await asyncio.sleep(_POLL_S)
        else:
            break
    return len(found)
