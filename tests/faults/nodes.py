"""A Ray cluster of several nodes on one machine, each started as on a machine of its own."""

from __future__ import annotations

import asyncio
import contextlib
import os
import secrets
import signal
import socket
import sys
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import psutil

from cluster.control.model import LABEL_CHARACTERS
from cluster.processes.deployment import RAY_ENVIRONMENT
from tests.faults import netns

START_TIMEOUT_S = 60.0
LOOPBACK = "127.0.0.1"


@dataclass
class Node:
    """A running ``ray start --block``; ``host`` is where, if not on this machine as it is."""

    process: asyncio.subprocess.Process
    host: netns.Node | None = None

    @property
    def raylet_pid(self) -> int:
        """Its raylet."""
        pid: int
        (pid,) = (one.pid for one in psutil.Process(self.process.pid).children() if one.name().startswith("raylet"))
        return pid

    def kill(self) -> list[int]:
        """kill -9 of it and of all that it started, as when a machine loses its power; the processes."""
        family = [*psutil.Process(self.process.pid).children(recursive=True), psutil.Process(self.process.pid)]
        for one in family:
            with contextlib.suppress(psutil.NoSuchProcess):
                one.kill()
        return [one.pid for one in family]

    @property
    def node_id(self) -> str:
        """Ray's id of it, from the command line of its raylet."""
        line: list[str] = psutil.Process(self.raylet_pid).cmdline()
        return next(one for one in line if one.startswith("--node_id=")).partition("=")[2]

    @property
    def label(self) -> str:
        """How it is called in names of actors."""
        return self.node_id[-LABEL_CHARACTERS:]

    async def stop(self) -> None:
        """End it and all that it started, if it still runs."""
        if self.process.returncode is None:
            with contextlib.suppress(psutil.NoSuchProcess):
                for child in psutil.Process(self.process.pid).children(recursive=True):
                    with contextlib.suppress(psutil.NoSuchProcess):
                        child.send_signal(signal.SIGCONT)
            self.process.terminate()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(20):
                    await self.process.wait()


@dataclass
class LocalCluster:
    """A head without CPUs, so that nothing is placed on it, and nodes as they are added."""

    address: str
    environment: dict[str, str]
    directory: Path
    nodes: list[Node]

    @property
    def settings(self) -> dict[str, str]:
        """What a process needs to be told to join."""
        return {"RAY_ADDRESS": self.address, "RAY_AUTH_TOKEN_PATH": self.environment["RAY_AUTH_TOKEN_PATH"]}

    @property
    def head(self) -> Node:
        """The node with the GCS and the controller."""
        return self.nodes[0]

    @property
    def workers(self) -> list[Node]:
        """All other nodes that run."""
        return [node for node in self.nodes[1:] if node.process.returncode is None]

    async def start_head(self, *arguments: str, host: netns.Node | None = None) -> Node:
        """Start the head, without CPUs, so that nothing is placed on it."""
        port = self.address.rpartition(":")[2]
        fixed = ("--head", "--port", port, "--num-cpus", "0", "--include-dashboard", "false")
        return await self._start(f"head-{len(self.nodes)}", *fixed, *arguments, host=host)

    async def add_node(self, cpus: int = 4, host: netns.Node | None = None) -> Node:
        """Start one more node and wait until it has joined."""
        arguments = ("--address", self.address, "--num-cpus", str(cpus))
        return await self._start(f"node-{len(self.nodes)}", *arguments, host=host)

    async def _start(self, name: str, *arguments: str, host: netns.Node | None) -> Node:
        if host is not None:
            arguments += ("--node-ip-address", host.address)
        log_path = self.directory / f"{name}.log"
        with log_path.open("wb") as log:
            process = await asyncio.create_subprocess_exec(
                *(host.prefix if host else ()),
                str(Path(sys.executable).with_name("ray")),
                "start",
                *arguments,
                "--block",
                env=self.environment,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        node = Node(process, host)
        self.nodes.append(node)
        async with asyncio.timeout(START_TIMEOUT_S):
            while "Ray runtime started" not in log_path.read_text():
                assert process.returncode is None, log_path.read_text()
                await asyncio.sleep(0.1)
        return node


def new_cluster(directory: Path, address: str = LOOPBACK, **environment: str) -> LocalCluster:
    """One without nodes yet; ``address`` is that of its head."""
    token = _new_token(directory)
    environment = {**os.environ, **RAY_ENVIRONMENT, "RAY_AUTH_TOKEN_PATH": str(token), **environment}
    return LocalCluster(f"{address}:{free_port()}", environment, directory, [])


@contextlib.asynccontextmanager
async def local_cluster(
    directory: Path, *, host: netns.Node | None = None, **environment: str
) -> AsyncIterator[LocalCluster]:
    """Start a head; it and all nodes end with the block."""
    cluster = new_cluster(directory, host.address if host else LOOPBACK, **environment)
    try:
        await cluster.start_head(host=host)
        yield cluster
    finally:
        for node in reversed(cluster.nodes):
            await node.stop()


def _new_token(directory: Path) -> Path:
    directory.mkdir()
    token = directory / "token"
    token.write_text(secrets.token_urlsafe(48), encoding="ascii")
    return token


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
