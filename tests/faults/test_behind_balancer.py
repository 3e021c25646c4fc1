"""Every node of a real Seatline restarted behind a real load balancer under load: no client notices."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from cluster.embedded import EmbeddedServices
from tests.faults import balancer, netns
from tests.faults.balancer import API_PORT, Balancer, open_balancer
from tests.faults.conftest import OpenRow
from tests.faults.netns import open_network
from tests.faults.nodes import LocalCluster, free_port, local_cluster
from tests.faults.row import Row
from tests.faults.stand import open_stand
from tests.faults.test_cluster_faults import AFTERWARDS_S, drained, serves

REASON = netns.why_not() or balancer.why_not()

pytestmark = [
    pytest.mark.faults,
    pytest.mark.timeout(600),
    pytest.mark.skipif(REASON is not None, reason=REASON or ""),
]

SOME = 50
"""Requests that show that somebody is served."""


@pytest.fixture
async def cluster(short_tmp: Path) -> AsyncIterator[LocalCluster]:
    """A head and two nodes, each with an address of its own."""
    async with (
        open_network() as network,
        local_cluster(short_tmp / "ray-behind-balancer", host=await network.add_node()) as opened,
    ):
        for _ in range(2):
            await opened.add_node(host=await network.add_node())
        yield opened


async def test_rolling_restart(
    services: EmbeddedServices, short_tmp: Path, cluster: LocalCluster, open_row: OpenRow
) -> None:
    directory = short_tmp / "balancer"
    directory.mkdir()
    hosts = {f"node{number}": node.host for number, node in enumerate(cluster.workers, 1) if node.host}
    addresses = {server: host.address for server, host in hosts.items()}
    async with (
        open_stand(
            services,
            short_tmp,
            "behind_balancer",
            cluster=cluster,
            SEATLINE_ACTORS_PER_NODE="1",
            SEATLINE_HOST="0.0.0.0",  # noqa: S104 - of a network of its own
            PORT=str(API_PORT),
        ) as stand,
        open_balancer(directory, f"127.0.0.1:{free_port()}", addresses) as at,
    ):
        await at.until_up(*addresses)
        stand.seatline.url = at.url  # clients know nothing else
        async with open_row(33, "every node restarted behind a load balancer", stand) as row:
            row.injects(
                "for each of two nodes with addresses of their own: `seatline drain`, out of HAProxy by its health "
                "check alone, stop Ray, start it again, in again"
            )
            started = time.monotonic()
            for server in addresses:
                await at.until_sent(server, SOME)
            for server, host in hosts.items():
                await restart(server, host, at, cluster, row)
            row.note(f"all done after {time.monotonic() - started:.0f} s")
            row.healed()
            await row.recovers()
            await row.steady(AFTERWARDS_S)
            assert row.load.counts.by_code == {}, "no request may be refused or lost"
            await no_errors(at, list(addresses), row)


async def restart(server: str, host: netns.Node, at: Balancer, cluster: LocalCluster, row: Row) -> None:
    """Take a node out, restart it, and wait until it serves again."""
    seatline = row.stand.seatline
    old = next(one for one in cluster.workers if one.host is host)
    took_s = await drained(seatline, old)
    drawn = await at.figures(server)
    assert drawn["status"].startswith("DOWN"), f"the balancer must have noticed by itself: {drawn['status']}"
    row.note(f"nothing of Seatline was on {server} after {took_s:.1f} s")
    await old.stop()
    await row.answers(SOME)
    assert (await at.figures(server))["stot"] == drawn["stot"], "nothing may be sent to a node that left"
    new = await cluster.add_node(host=host)
    await serves(seatline, new.label)
    await at.until_up(server)
    await at.until_sent(server, SOME)


async def no_errors(at: Balancer, servers: list[str], row: Row) -> None:
    """HAProxy's own word on it."""
    sent = {server: int((await at.figures(server))["stot"]) for server in servers}
    whole = await at.figures("BACKEND")
    counted = {name: int(whole[name]) for name in ("hrsp_5xx", "econ", "eresp", "wretr", "wredis")}
    row.note(f"HAProxy sent {sent}; errors and repeats: {counted}")
    assert counted["hrsp_5xx"] == counted["eresp"] == 0
