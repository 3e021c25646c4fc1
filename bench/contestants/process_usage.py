"""CPU time of whole families of processes, so that work done by a child counts for its family."""

from __future__ import annotations

from collections.abc import Iterable

import psutil


def tree_cpu_s(pids: Iterable[int]) -> float:
    """User and system seconds of some processes, of all their living descendants, and of those that have ended.

    Never falls: what a child used is its parent's ``children`` time once the parent has waited for it.
    """
    seen: set[int] = set()
    total = 0.0
    for pid in pids:
        for process in _family(pid):
            if process.pid in seen:
                continue
            seen.add(process.pid)
            try:
                times = process.cpu_times()
            except (psutil.NoSuchProcess, psutil.ZombieProcess, psutil.AccessDenied):
                continue
            total += times.user + times.system + times.children_user + times.children_system
    return total


def tree_memory_bytes(pids: Iterable[int], name_part: str = "") -> dict[str, int]:
    """Memory of the processes of some families whose command line has ``name_part``.

    Returns:
        ``processes``; ``rss``, with what they share counted for each; ``pss``, with it shared out; ``uss``, without it.
    """
    found = {"processes": 0, "rss": 0, "pss": 0, "uss": 0}
    for pid in pids:
        for process in _family(pid):
            try:
                if name_part not in " ".join(process.cmdline()):
                    continue
                info = process.memory_full_info()
            except (psutil.NoSuchProcess, psutil.ZombieProcess, psutil.AccessDenied):
                continue
            found["processes"] += 1
            for name in ("rss", "pss", "uss"):
                found[name] += getattr(info, name)
    return found


def _family(pid: int) -> list[psutil.Process]:
    try:
        root = psutil.Process(pid)
        return [root, *root.children(recursive=True)]
    except psutil.NoSuchProcess:
        return []
