"""Several Ray nodes under load: nodes that die, leave and are replaced, the head that dies, and upgrades."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from cluster.embedded import EmbeddedServices
from tests.acceptance.seatline import Seatline
from tests.faults.conftest import OpenRow
from tests.faults.nodes import LocalCluster, Node, free_port, local_cluster
from tests.faults.row import Row
from tests.faults.stand import open_stand
from tests.faults.upgrade import upgraded

pytestmark = [pytest.mark.faults, pytest.mark.timeout(600)]

NODE_BACK_S = 10.0
WITHOUT_HEAD_S = 20.0
DRAIN_MAX_S = 60.0
SERVES_MAX_S = 90.0
AFTERWARDS_S = 6.0


@pytest.fixture
async def cluster(short_tmp: Path, request: pytest.FixtureRequest) -> AsyncIterator[LocalCluster]:
    """A head and two nodes."""
    async with local_cluster(short_tmp / f"ray-{request.node.name}") as opened:
        await opened.add_node()
        await opened.add_node()
        yield opened


async def test_node_killed(
    services: EmbeddedServices, short_tmp: Path, cluster: LocalCluster, open_row: OpenRow
) -> None:
    async with (
        open_stand(services, short_tmp, "node_killed", cluster=cluster, SEATLINE_ACTORS_PER_NODE="1") as stand,
        open_row(26, "a node killed with all that is on it", stand) as row,
    ):
        doomed, _ = cluster.workers
        label = doomed.label
        lost = await owned_by(row, label)
        assert lost, "the node must have sections"
        row.injects(
            f"kill -9 of all processes of one of two nodes, which has {len(lost)} of {len(row.sections)} sections"
        )
        doomed.kill()
        row.healed()
        await row.steady(NODE_BACK_S + AFTERWARDS_S)
        waits_s = row.waits_s(row.healed_at)
        row.report.recovery_s = max(waits_s)
        row.note(f"no section was without an answer for more than {max(waits_s):.1f} s")
        assert not await owned_by(row, label)
        assert max(waits_s) < NODE_BACK_S


async def test_head_killed(
    services: EmbeddedServices, short_tmp: Path, cluster: LocalCluster, open_row: OpenRow
) -> None:
    async with open_stand(services, short_tmp, "head_killed", cluster=cluster, SEATLINE_ACTORS_PER_NODE="1") as stand:
        row = open_row(27, "the head killed: GCS and controller with it", stand)
        await row.__aenter__()
        row.injects("kill -9 of all processes of the head")
        cluster.head.kill()
        row.healed()
        fresh = await row.add_sections(5)
        before = len(row.load.served)
        await row.steady(WITHOUT_HEAD_S)
        pause_s = row.longest_pause_s()
        asked = {one.section_id for one in row.load.served}
        assert set(fresh) <= asked, "sections that were never active must come to life"
        row.note(f"{len(row.load.served) - before:,} answers in {WITHOUT_HEAD_S:.0f} s without a head")
        found = await row.conclude()
        assert (found.lost, found.doubled, found.impossible) == ([], [], [])
        row.report.pause_s = row.report.recovery_s = pause_s
        row.report.history = f"{found.operations:,} operations on {found.sections} sections: 0 lost, 0 doubled"
        code, verified, err = await stand.seatline.run("verify", "--no-memory", "--json")
        assert code == 0, f"{verified}\n{err}"
        row.report.verify = f"{len(verified['checks'])} checks hold; no Ray to ask for the memory"
        row.report.passed = True
        assert pause_s < 5.0
        stand.seatline.process.kill()
        await stand.seatline.process.wait()


async def test_node_drained(
    services: EmbeddedServices, short_tmp: Path, cluster: LocalCluster, open_row: OpenRow
) -> None:
    async with (
        open_stand(services, short_tmp, "node_drained", cluster=cluster, SEATLINE_ACTORS_PER_NODE="1") as stand,
        open_row(28, "a node drained", stand) as row,
    ):
        leaving, _ = cluster.workers
        row.injects("`seatline drain` of one of two nodes")
        took_s = await drained(stand.seatline, leaving)
        row.healed()
        assert not await owned_by(row, leaving.label)
        row.note(f"nothing of Seatline was on it after {took_s:.1f} s")
        await row.recovers()
        await row.steady(AFTERWARDS_S)
        assert row.load.counts.by_code == {}, "no request may be refused or lost"


async def test_rolling_restart(
    services: EmbeddedServices, short_tmp: Path, cluster: LocalCluster, open_row: OpenRow
) -> None:
    async with (
        open_stand(services, short_tmp, "rolling_restart", cluster=cluster, SEATLINE_ACTORS_PER_NODE="1") as stand,
        open_row(29, "every node restarted, one after the other", stand) as row,
    ):
        row.injects("for each of two nodes: drain, stop, start another, wait until it serves")
        started = time.monotonic()
        for old in cluster.workers:
            await drained(stand.seatline, old)
            await old.stop()
            new = await cluster.add_node()
            await serves(stand.seatline, new.label)
        row.note(f"all done after {time.monotonic() - started:.0f} s")
        row.healed()
        await row.recovers()
        await row.steady(AFTERWARDS_S)
        assert row.load.counts.by_code == {}, "no request may be refused or lost"


async def test_rolling_upgrade(
    services: EmbeddedServices, short_tmp: Path, cluster: LocalCluster, open_row: OpenRow
) -> None:
    async with (
        open_stand(
            services,
            short_tmp,
            "rolling_upgrade",
            cluster=cluster,
            detach=True,
            SEATLINE_ACTORS_PER_NODE="1",
            SEATLINE_DRAIN_S="2",
            PORT=str(free_port()),
        ) as stand,
        open_row(30, "another version deployed over the running one", stand) as row,
    ):
        row.injects("`seatline serve` with other settings, and so with another generation of actors")
        before = await names(stand.seatline)
        took_s = await upgraded(stand.seatline, SEATLINE_SECTION_IDLE_S="901")
        after = await names(stand.seatline)
        assert not before & after, "something of the old version still runs"
        assert len(before) == len(after)
        row.note(f"done after {took_s:.0f} s")
        row.healed()
        await row.recovers()
        await row.steady(AFTERWARDS_S)
        assert row.load.counts.by_code == {}, "no request may be refused or lost"


async def owned_by(row: Row, label: str) -> list[int]:
    """Sections of the load that an actor of a node activated last."""
    rows = await row.campus.connection.fetch(
        "SELECT section_id FROM section_seats WHERE section_id = ANY($1::bigint[]) AND owner LIKE $2",
        row.sections,
        f"sections-{label}-%",
    )
    return [one["section_id"] for one in rows]


async def drained(seatline: Seatline, node: Node) -> float:
    """Drain a node by the command; how long it took."""
    started = time.monotonic()
    code, said, err = await seatline.run("drain", node.label, "--wait", str(DRAIN_MAX_S), "--json")
    assert (code, said["left"] if said else None) == (0, []), f"{said}\n{err}"
    return time.monotonic() - started


async def serves(seatline: Seatline, label: str) -> None:
    """Wait until a node has a section actor in the directory and an API server that listens."""
    async with asyncio.timeout(SERVES_MAX_S):
        while True:
            _, said, _ = await seatline.run("status", "--json")
            mine = [one for one in said["actors"] if one["node"] == label] if said else []
            if any(one["is_member"] for one in mine) and any(one["port"] for one in mine):
                return


async def names(seatline: Seatline) -> set[str]:
    """Of all actors."""
    _, said, err = await seatline.run("status", "--json")
    assert said is not None, err
    return {one["name"] for one in said["actors"]}
