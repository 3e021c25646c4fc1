"""Nodes with addresses of their own behind a real load balancer: its configuration, while they come and go."""

from __future__ import annotations

import asyncio
import signal
import sys
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import pytest

from tests.faults import balancer, netns
from tests.faults.balancer import Balancer, open_balancer
from tests.faults.netns import Network, Node, open_network
from tests.faults.nodes import free_port

REASON = netns.why_not() or balancer.why_not()

pytestmark = [pytest.mark.faults, pytest.mark.skipif(REASON is not None, reason=REASON or "")]

CLIENTS = 16


@pytest.fixture
async def network() -> AsyncIterator[Network]:
    async with open_network() as opened:
        yield opened


class Site:
    """Two nodes behind the balancer, and clients that never pause."""

    def __init__(self, at: Balancer, nodes: dict[str, Node], session: aiohttp.ClientSession) -> None:
        self.balancer = at
        self.nodes = nodes
        self.session = session
        self.served: Counter[str] = Counter()
        self.failed: list[str] = []

    async def request(self) -> None:
        try:
            async with self.session.post(f"{self.balancer.url}/work", data=b"x" * 2000) as response:
                text = await response.text()
                if response.status == 200:
                    self.served[text] += 1
                else:
                    self.failed.append(f"{response.status} {text[:100]}")
        except (aiohttp.ClientError, TimeoutError) as error:
            self.failed.append(repr(error))

    async def load(self, stopping: asyncio.Event) -> None:
        while not stopping.is_set():
            await self.request()

    async def until_served(self, name: str, count: int) -> None:
        """Wait until a node has answered so many more."""
        wanted = self.served[name] + count
        async with asyncio.timeout(20):
            while self.served[name] < wanted:
                await asyncio.sleep(0.02)


@pytest.fixture
async def site(network: Network, tmp_path: Path) -> AsyncIterator[Site]:
    nodes = {name: await network.add_node() for name in ("node1", "node2")}
    for name, node in nodes.items():
        await start_server(name, node, tmp_path)
    listen = f"127.0.0.1:{free_port()}"
    timeout = aiohttp.ClientTimeout(total=20)
    async with (
        open_balancer(tmp_path, listen, {name: node.address for name, node in nodes.items()}) as at,
        aiohttp.ClientSession(timeout=timeout) as session,
    ):
        await at.until_up(*nodes)
        yield Site(at, nodes, session)


async def start_server(name: str, node: Node, directory: Path) -> None:
    command = (sys.executable, "-m", "tests.faults.tiny_server", name, node.address)
    await node.start(*command, log=directory / f"{name}.log")


async def test_a_node_is_drained_restarted_and_used_again_without_a_failed_request(site: Site, tmp_path: Path) -> None:
    stopping = asyncio.Event()
    clients = [asyncio.create_task(site.load(stopping)) for _ in range(CLIENTS)]
    for name, node in site.nodes.items():
        await site.until_served(name, 50)
        await site.balancer.drain(name)
        at_drain = site.served[name]
        (process,) = node.processes
        process.send_signal(signal.SIGTERM)
        assert await process.wait() == 0
        node.processes.clear()
        for other in site.nodes.keys() - {name}:
            await site.until_served(other, 50)
        assert site.served[name] == at_drain
        await start_server(name, node, tmp_path)
        await site.balancer.use(name)
        await site.until_served(name, 50)
    stopping.set()
    await asyncio.gather(*clients)
    print(f"served {dict(site.served)}, failed {len(site.failed)}")
    assert site.failed == []


async def test_a_node_that_dies_is_left_out_and_what_reached_it_is_not_sent_twice(site: Site) -> None:
    """An enrolment that may have been decided is for its client to repeat, with its key."""
    stopping = asyncio.Event()
    clients = [asyncio.create_task(site.load(stopping)) for _ in range(CLIENTS)]
    await site.until_served("node1", 50)
    (process,) = site.nodes["node1"].processes
    process.kill()
    await process.wait()
    await site.until_served("node2", 200)
    after = len(site.failed)
    await site.until_served("node2", 200)
    stopping.set()
    await asyncio.gather(*clients)
    print(f"served {dict(site.served)}, failed {len(site.failed)}: {Counter(site.failed)}")
    assert len(site.failed) <= CLIENTS, "no more than were under way"
    assert len(site.failed) == after, "and none once it is known to be gone"


async def test_a_websocket_goes_through_and_figures_do_not(site: Site) -> None:
    async with site.session.ws_connect(f"{site.balancer.url}/ws") as socket:
        await socket.send_str("seats")
        assert await socket.receive_str(timeout=5) == "seats"
    async with site.session.get(f"{site.balancer.url}/metrics") as response:
        assert response.status == 404


async def test_a_cable_can_be_pulled_and_nothing_is_left_over(network: Network, tmp_path: Path) -> None:
    first, second = await network.add_node(), await network.add_node()

    async def reaches() -> bool:
        script = f"import socket; socket.create_connection(('{second.address}', 8080), 1)"
        process = await first.start(sys.executable, "-c", script)
        return await process.wait() == 0

    await start_server("second", second, tmp_path)
    async with asyncio.timeout(20):
        while not await reaches():
            await asyncio.sleep(0.1)
    await second.cut()
    assert not await reaches()
    await second.mend()
    assert await reaches()

    made = {*(node.namespace for node in network.nodes), network.port_of(first)}
    assert made - existing() == set()
    await network.close()
    assert made & existing() == set()


def existing() -> set[str]:
    """Names of namespaces and of interfaces."""
    return {path.name for place in (netns.NAMESPACES, Path("/sys/class/net")) for path in place.iterdir()}
