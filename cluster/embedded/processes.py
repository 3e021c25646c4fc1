"""Child processes: starting one that dies with us, ending one for sure, finding those a killed supervisor left."""

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

from cluster.embedded.accounts import Account

_POLL_S = 0.02
_LAUNCH = Path(__file__).with_name("launch.py")
_PROC = Path("/proc")

Escalation = Sequence[tuple[signal.Signals, float]]
"""Signals to send in turn, each with the seconds to wait for its effect."""


class Child:
    """A process that we started."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        self._process = process

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def exit_status(self) -> int | None:
        """None while it runs; negative for the signal that ended it."""
        return self._process.poll()

    async def wait(self, timeout_s: float | None = None) -> int | None:
        """Its exit status once it has ended, or None when the time is over first."""
        deadline = None if timeout_s is None else time.monotonic() + timeout_s
        while (status := self.exit_status) is None:
            if deadline is not None and time.monotonic() >= deadline:
                return None
            await asyncio.sleep(_POLL_S)
        return status

    async def stop(self, escalation: Escalation) -> None:
        """Ask it to end, ever more firmly, and wait until it has."""
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
    account: Account | None = None,
    environment: Mapping[str, str] | None = None,
) -> Child:
    """Start ``command`` in ``directory``, its output appended to ``log``.

    It gets ``death_signal`` when the calling *thread* ends (Linux), so call this from a thread that lasts. Its session
    is its own: a Ctrl-C at the terminal is ours to act on.
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
    """Whether this system shows us what other processes are doing."""
    return (_PROC / "self" / "cwd").exists()


def find_running(directory: Path, programs: Collection[str]) -> list[int]:
    """Processes of these program names whose working directory is ``directory`` (the same inode, whatever its name)."""
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
    """End what still works in ``directory`` without a supervisor; the number of processes found.

    Only call this while holding the home's lock. The first signals go to ``leader`` alone, if it is among the found,
    as a server's workers follow their parent.
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
