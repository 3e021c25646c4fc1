"""CPU time and memory of process trees: of processes together with all their descendants."""

from __future__ import annotations

from collections.abc import Iterable

import psutil


def tree_cpu_s(pids: Iterable[int]) -> float:
    """User and system seconds of some processes and all their descendants, ended ones included.

    It never falls: the time of an ended child is in its parent's ``children`` time once the parent has waited for it.
    """
    seen: set[int] = set()
    total = 0.0
    for pid in pids:
        for process in _tree(pid):
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
    """Memory of the processes in some trees whose command line contains ``name_part``.

    Returns:
        ``processes``, their number, and bytes: ``rss``, ``pss`` and ``uss``, as in /proc/PID/smaps.
    """
    found = {"processes": 0, "rss": 0, "pss": 0, "uss": 0}
    for pid in pids:
        for process in _tree(pid):
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


def _tree(pid: int) -> list[psutil.Process]:
    try:
        root = psutil.Process(pid)
        return [root, *root.children(recursive=True)]
    except psutil.NoSuchProcess:
        return []
