"""One who takes part: its processes, its database, its address, and what it costs."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
import sys
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import asyncpg
import orjson

from bench.contestants.process_usage import tree_cpu_s
from bench.contestants.testbed import Testbed
from bench.peers.environment import PeerEnvironment
from bench.peers.registry import Peer
from cluster import embedded
from cluster.cli.common import CommandError, Exit
from cluster.clients.http import AsyncConnection, Target, get
from cluster.clients.registrations import is_up
from cluster.config.runfile import read_run_file

START_TIMEOUT_S = 180.0
STOP_TIMEOUT_S = 60.0
BACKLOG_TIMEOUT_S = 300.0
SEATLINE = "seatline"
UP = ("up", "--port", "0", "--no-seed")
LAUNCHER = Path(embedded.__file__).with_name("launch.py")


@dataclass(slots=True)
class Contestant:
    """Args:
    name: as in results.
    target: where it listens. The Host header is the same for all, so that all get the same bytes.
    database_url: its own.
    processes: that were started for it.
    peer: what it is; None for Seatline.
    home: of a Seatline.
    environment: that its commands need, of a Seatline.
    """

    name: str
    target: Target
    database_url: str
    processes: list[asyncio.subprocess.Process]
    service_pids: Mapping[str, int]
    peer: Peer | None = None
    home: Path | None = None
    environment: Mapping[str, str] | None = None

    @property
    def decides(self) -> bool:
        """Whether it looks at the request at all."""
        return self.peer is None or self.peer.decides

    @property
    def keeps_counts(self) -> bool:
        """Whether ``verify`` can be run on its tables."""
        return self.peer is None or self.peer.keeps_counts

    def cpu_s(self) -> dict[str, float]:
        """CPU seconds so far: of its own processes, and of the services, which it has for itself while it is loaded."""
        own = tree_cpu_s(process.pid for process in self.processes)
        return {"processes": own, **{name: tree_cpu_s([pid]) for name, pid in self.service_pids.items()}}

    async def settle(self) -> None:
        """Wait until all that was acknowledged is written."""
        if self.peer is None or not self.peer.writes_behind:
            return
        connection = AsyncConnection(self.target)
        async with asyncio.timeout(BACKLOG_TIMEOUT_S):
            while orjson.loads((await connection.exchange(get(self.target, "/backlog"), 10.0)).body)["waiting"]:
                await asyncio.sleep(0.05)
        connection.close()


def free_port() -> int:
    """A port that nobody listened on a moment ago."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def same_host(port: int) -> Target:
    """A local target whose Host header does not tell it from another."""
    return Target("127.0.0.1", port, "localhost", None)


@contextlib.asynccontextmanager
async def start_peer(
    testbed: Testbed, peer: Peer, database_url: str, sections: Sequence[int] = ()
) -> AsyncIterator[Contestant]:
    """Run a peer on a database of its own."""
    connection = await asyncpg.connect(database_url)
    try:
        for statement in peer.statements():
            await connection.execute(statement)
    finally:
        await connection.close()
    port = free_port()
    told = PeerEnvironment(database_url, testbed.redis_url(), testbed.jwt_secret, port, tuple(sections))
    environment = {**os.environ, **peer.environment, **told.variables()}
    log = testbed.home / f"{peer.name}.log"
    processes = [await launch(peer.command_line(port), environment, log) for _ in range(peer.processes)]
    try:
        contestant = Contestant(peer.name, same_host(port), database_url, processes, testbed.services.pids, peer=peer)
        await _wait_until_up(contestant.target, processes, log)
        yield contestant
    finally:
        await stop(processes)


@contextlib.asynccontextmanager
async def start_seatline(
    testbed: Testbed,
    database_url: str,
    name: str = SEATLINE,
    settings: Mapping[str, str] | None = None,
    *,
    command: Sequence[str] = UP,
) -> AsyncIterator[Contestant]:
    """Run ``seatline up``, or another command that stays, with these settings on a database of its own."""
    home = testbed.home / f"home-{name.replace(' ', '-')}"
    home.mkdir()
    environment = {
        **os.environ,
        "SEATLINE_HOME": str(home),
        "DATABASE_URL": database_url,
        "REDIS_URL": testbed.redis_url(),
        "SEATLINE_JWT_SECRET": testbed.jwt_secret,
        "LOG_LEVEL": "WARNING",
        **(settings or {}),
    }
    log = home / "up.log"
    process = await launch([*seatline_command(), *command], environment, log)
    try:
        async with asyncio.timeout(START_TIMEOUT_S):
            while (run := read_run_file(home)) is None:
                require_running([process], log)
                await asyncio.sleep(0.1)
        port = Target.of(run.url).port
        yield Contestant(
            name, same_host(port), database_url, [process], testbed.services.pids, home=home, environment=environment
        )
    finally:
        await stop([process])


def seatline_command() -> list[str]:
    """The console script of this environment."""
    return [str(Path(sys.executable).with_name("seatline"))]


async def run_command(
    environment: Mapping[str, str], *arguments: str, accepted: Sequence[int] = (0,)
) -> tuple[int, Any]:
    """Run a ``seatline`` command and give its exit code and its JSON.

    Raises:
        CommandError: if it ended otherwise than accepted.
    """
    process = await asyncio.create_subprocess_exec(
        *seatline_command(), *arguments, env=dict(environment),
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    out, error = await process.communicate()
    code = process.returncode or 0
    if code not in accepted:
        raise CommandError(f"`seatline {' '.join(arguments[:2])}` ended with {code}: {error.decode()[-2000:]}")
    return code, orjson.loads(out) if out.lstrip().startswith((b"{", b"[")) else None


async def launch(command: Sequence[str], environment: Mapping[str, str], log: Path) -> asyncio.subprocess.Process:
    """Start a server in a session of its own; what it says goes to ``log``."""
    # The launcher asks the kernel to stop the server should this process be killed.
    launcher = [sys.executable, "-I", "-S", str(LAUNCHER), str(os.getpid()), str(int(signal.SIGTERM)), "-", "-"]
    with log.open("ab") as output:
        return await asyncio.create_subprocess_exec(
            *launcher, *command, env=dict(environment), stdout=output, stderr=output, start_new_session=True
        )


async def _wait_until_up(target: Target, processes: list[asyncio.subprocess.Process], log: Path) -> None:
    async with asyncio.timeout(START_TIMEOUT_S):
        while not await is_up(target, 1.0):
            require_running(processes, log)
            await asyncio.sleep(0.1)


def require_running(processes: Sequence[asyncio.subprocess.Process], log: Path) -> None:
    """All of them.

    Raises:
        CommandError: with the end of the log, if one has ended.
    """
    for process in processes:
        if process.returncode is not None:
            tail = log.read_text(encoding="utf-8", errors="replace")[-2000:]
            raise CommandError(f"a server ended while it started (exit {process.returncode}):\n{tail}", Exit.FAILURE)


async def stop(processes: Sequence[asyncio.subprocess.Process]) -> None:
    """End servers, kindly and then not."""
    for process in processes:
        if process.returncode is None:
            process.send_signal(signal.SIGTERM)
    for process in processes:
        try:
            async with asyncio.timeout(STOP_TIMEOUT_S):
                await process.wait()
        except TimeoutError:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)  # a session of its own: itself and its children
            await process.wait()
