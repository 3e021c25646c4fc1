"""Nodes with addresses of their own on one machine: network namespaces on a bridge. Needs root and iproute2.

A process that is started on a node sees that node's network and nothing else; the machine itself is a host on the
bridge, so a load balancer or Postgres that runs on it is reached by ``Network.host_address``.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import secrets
import shutil
import signal
import subprocess
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

PREFIX = "slt"
NODES_MAX = 200
STOP_TIMEOUT_S = 20.0
COMMAND_TIMEOUT_S = 10.0
NAMESPACES = Path("/run/netns")


class NetworkError(Exception):
    """``ip`` would not do it; the message is its own."""


def why_not() -> str | None:
    """Why there can be no such network here, if there cannot."""
    if os.geteuid() != 0:
        return "network namespaces need root"
    if shutil.which("ip") is None:
        return "ip is not installed (Debian: apt-get install iproute2)"
    name = f"{PREFIX}-{os.getpid()}-try"
    for arguments in (("netns", "add", name), ("netns", "del", name)):
        done = subprocess.run(["ip", *arguments], capture_output=True, text=True, check=False)
        if done.returncode:
            return f"network namespaces cannot be made here: {done.stderr.strip()}"
    return None


@dataclass(eq=False)
class Node:
    """A namespace with one address, and what was started in it."""

    namespace: str
    address: str
    network: Network
    processes: list[asyncio.subprocess.Process] = field(default_factory=list)

    @property
    def prefix(self) -> tuple[str, ...]:
        """Before a command that is to run there."""
        return "ip", "netns", "exec", self.namespace

    async def start(
        self, *command: str, env: Mapping[str, str] | None = None, log: Path | None = None
    ) -> asyncio.subprocess.Process:
        """Start a program there. Its pid is the program's own, so signals meet it."""
        with contextlib.ExitStack() as stack:
            output = stack.enter_context(log.open("ab")) if log else asyncio.subprocess.DEVNULL
            process = await asyncio.create_subprocess_exec(
                *self.prefix,
                *command,
                env=None if env is None else dict(env),
                stdin=asyncio.subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )
        self.processes.append(process)
        return process

    async def cut(self) -> None:
        """Pull its cable: nothing arrives any more, and nobody is told."""
        await _ip("link", "set", self.network.port_of(self), "down")

    async def mend(self) -> None:
        """Plug it in again."""
        await _ip("link", "set", self.network.port_of(self), "up")

    async def remove(self) -> None:
        """End all that runs there, kindly and then not, and the namespace with its cable."""
        for number in (signal.SIGTERM, signal.SIGKILL):
            for pid in await self._pids():
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, number)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(STOP_TIMEOUT_S):
                    while await self._pids():
                        await asyncio.sleep(0.05)
        for process in self.processes:
            await process.wait()
        await _ip("netns", "del", self.namespace)
        self.network.nodes.remove(self)

    async def _pids(self) -> list[int]:
        return [int(one) for one in (await _ip("netns", "pids", self.namespace)).split()]


class Network:
    """A bridge, this machine on it as ``host_address``, and nodes as they are added."""

    def __init__(self) -> None:
        self._token = f"{os.getpid()}-{secrets.token_hex(2)}"
        self._bridge = f"{PREFIX}{secrets.token_hex(3)}"
        self._third = secrets.randbelow(250) + 1
        self._added = 0
        self.nodes: list[Node] = []

    @property
    def host_address(self) -> str:
        """Of this machine, as nodes reach it."""
        return self._address(1)

    def port_of(self, node: Node) -> str:
        """The end of a node's cable that is on the bridge."""
        return f"{self._bridge}v{node.address.rpartition('.')[2]}"

    def _address(self, last: int) -> str:
        # Of the block for benchmarks of networks (RFC 2544): nobody's own network is there.
        return f"198.18.{self._third}.{last}"

    async def open(self) -> None:
        """Make the bridge."""
        await _remove_left_over()
        await _ip("link", "add", self._bridge, "type", "bridge")
        await _ip("addr", "add", f"{self.host_address}/24", "dev", self._bridge)
        await _ip("link", "set", self._bridge, "up")

    async def add_node(self) -> Node:
        """A node that reaches this machine and all other nodes."""
        assert self._added < NODES_MAX
        self._added += 1
        node = Node(f"{PREFIX}-{self._token}-{self._added}", self._address(self._added + 1), self)
        await _ip("netns", "add", node.namespace)
        self.nodes.append(node)
        port = self.port_of(node)
        await _ip("link", "add", port, "type", "veth", "peer", "name", "eth0", "netns", node.namespace)
        await _ip("link", "set", port, "master", self._bridge, "up")
        within: Sequence[Sequence[str]] = (
            ("addr", "add", f"{node.address}/24", "dev", "eth0"),
            ("link", "set", "eth0", "up"),
            ("link", "set", "lo", "up"),
        )
        for arguments in within:
            await _ip("-n", node.namespace, *arguments)
        return node

    async def close(self) -> None:
        """Remove everything, whatever state it is in."""
        for node in list(self.nodes):
            await node.remove()
        with contextlib.suppress(NetworkError):  # it was not made
            await _ip("link", "del", self._bridge)


@contextlib.asynccontextmanager
async def open_network() -> AsyncIterator[Network]:
    """A network that is gone after the block."""
    network = Network()
    try:
        await network.open()
        yield network
    finally:
        await network.close()


def _left_over() -> list[str]:
    """Namespaces of runs that were killed: their names say whose they were."""
    if not NAMESPACES.is_dir():
        return []
    names = [path.name for path in NAMESPACES.glob(f"{PREFIX}-*")]
    return [name for name in names if not Path(f"/proc/{name.split('-')[1]}").exists()]


async def _remove_left_over() -> None:
    for name in _left_over():
        for pid in (await _ip("netns", "pids", name)).split():
            with contextlib.suppress(ProcessLookupError):
                os.kill(int(pid), signal.SIGKILL)
        await _ip("netns", "del", name)


async def _ip(*arguments: str) -> str:
    process = await asyncio.create_subprocess_exec(
        "ip", *arguments, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    async with asyncio.timeout(COMMAND_TIMEOUT_S):
        out, err = await process.communicate()
    if process.returncode:
        raise NetworkError(f"ip {' '.join(arguments)}: {err.decode().strip()}")
    return out.decode()
