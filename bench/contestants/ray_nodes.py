"""A Ray cluster of several nodes on this machine, each started as on a machine of its own."""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

from bench.contestants.contestant import free_port, launch, require_running, stop
from cluster.config.secrets import ray_token_path
from cluster.config.settings import Settings
from cluster.processes.deployment import RAY_ENVIRONMENT

START_TIMEOUT_S = 90.0
STARTED = "Ray runtime started"
CPUS = "4"
"""Logical CPUs of a node: they only limit the number of its actors."""


@dataclass(frozen=True, slots=True)
class RayNodes:
    """A running Ray cluster.

    Args:
        settings: the environment in which a ``seatline`` command finds it.
        processes: the head, which serves nothing, and the nodes.
    """

    settings: dict[str, str]
    processes: list[asyncio.subprocess.Process]


@contextlib.asynccontextmanager
async def start_ray_nodes(home: Path, count: int) -> AsyncIterator[RayNodes]:
    """Start a head without CPUs, so that no actor is placed on it, and ``count`` nodes; all end with the block."""
    address = f"127.0.0.1:{free_port()}"
    settings = {"RAY_ADDRESS": address, "RAY_AUTH_TOKEN_PATH": _new_token(home)}
    head = ("--head", "--port", address.rpartition(":")[2], "--num-cpus", "0", "--include-dashboard", "false")
    node = ("--address", address, "--num-cpus", CPUS)
    environment = {**os.environ, **RAY_ENVIRONMENT, **settings}
    ray = str(Path(sys.executable).with_name("ray"))
    processes: list[asyncio.subprocess.Process] = []
    try:
        for number, arguments in enumerate((head, *[node] * count)):
            log = home / f"node-{number}.log"
            processes.append(await launch([ray, "start", *arguments, "--block"], environment, log))
            await _until_started(processes[-1], log)
        yield RayNodes(settings, processes)
    finally:
        await stop(processes[::-1])


async def _until_started(process: asyncio.subprocess.Process, log: Path) -> None:
    async with asyncio.timeout(START_TIMEOUT_S):
        while not _has_started(log):
            require_running([process], log)
            await asyncio.sleep(0.1)


def _has_started(log: Path) -> bool:
    return STARTED in log.read_text(encoding="utf-8", errors="replace")


def _new_token(home: Path) -> str:
    home.mkdir()
    return str(ray_token_path(Settings(home=home)))
