"""Nodes, the GCS and Ray's own messages."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator
from pathlib import Path

import psutil
import pytest

from cluster.embedded import EmbeddedServices
from tests.faults.conftest import OpenRow
from tests.faults.nodes import LocalCluster, local_cluster
from tests.faults.stand import Stand, frozen, open_stand

pytestmark = pytest.mark.faults

NODE_BACK_S = 15.0


@pytest.fixture
async def cluster(short_tmp: Path, request: pytest.FixtureRequest) -> AsyncIterator[LocalCluster]:
    """A head and no nodes yet."""
    async with local_cluster(short_tmp / f"ray-{request.node.name}") as opened:
        yield opened


async def test_raylet_killed(
    services: EmbeddedServices, short_tmp: Path, cluster: LocalCluster, open_row: OpenRow
) -> None:
    async with (
        open_stand(services, short_tmp, "raylet_killed", cluster=cluster) as stand,
        open_row(1, "a raylet killed", stand) as row,
    ):
        _, doomed, _ = cluster.nodes
        assert set(stand.actor_pids()) == set(below(doomed.process.pid)), "the section actors are elsewhere"
        row.injects("kill -9 of the raylet of the node with all section actors")
        os.kill(doomed.raylet_pid, signal.SIGKILL)
        row.healed()
        back_s = await row.recovers()
        row.note(f"its sections answered again, on the other node, after {back_s:.1f} s")
        assert back_s < NODE_BACK_S


async def test_raylet_frozen(
    services: EmbeddedServices, short_tmp: Path, cluster: LocalCluster, open_row: OpenRow
) -> None:
    async with (
        open_stand(services, short_tmp, "raylet_frozen", cluster=cluster) as stand,
        open_row(1, "a raylet frozen, its workers not", stand, is_timely=False) as row,
    ):
        _, silent, _ = cluster.nodes
        old = below(silent.process.pid)
        assert set(stand.actor_pids()) == set(old)
        row.injects("SIGSTOP of the raylet of the node with all section actors, until they live elsewhere; SIGCONT")
        with frozen(silent.raylet_pid):
            async with asyncio.timeout(60):
                while len(set(stand.actor_pids()) - set(old)) < len(old):
                    await asyncio.sleep(0.05)
            row.healed()
            taken_s = await row.recovers()
            alive = [pid for pid in old if psutil.pid_exists(pid)]
            row.note(f"taken over in {taken_s:.1f} s, while {len(alive)} of the {len(old)} old processes still lived")
        async with asyncio.timeout(60):
            while any(psutil.pid_exists(pid) for pid in old):
                await asyncio.sleep(0.05)
        row.note("once thawed, the raylet learnt that it had been given up, and its processes ended")


def below(pid: int) -> list[int]:
    """Section actors below a process."""
    from tests.faults.stand import SECTION_ACTOR, processes_below

    return processes_below(pid, SECTION_ACTOR)
