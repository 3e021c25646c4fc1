"""A contestant: Seatline or a peer, with its processes, its database, its address, and the CPU time it has used."""

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
from bench.contestants.sandbox import Sandbox
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
    """A server that is measured.

    Args:
        name: as in results.
        target: its address. The Host header is the same for all contestants, so that all get the same bytes.
        database_url: of its own database.
        processes: the processes that were started for it.
        service_pids: of Postgres and Valkey, by name.
        peer: which peer it is; None for Seatline.
        home: the home directory of a Seatline; None for a peer.
        environment: what commands of a Seatline need in their environment; None for a peer.
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
        """Whether it decides requests at all; the echo server does not."""
        return self.peer is None or self.peer.decides

    @property
    def keeps_counts(self) -> bool:
        """Whether its tables can be checked by ``verify``."""
        return self.peer is None or self.peer.keeps_counts

    def cpu_s(self) -> dict[str, float]:
        """CPU seconds so far of its processes and of the services, which only it uses while it is under load."""
        own = tree_cpu_s(process.pid for process in self.processes)
        return {"processes": own, **{name: tree_cpu_s([pid]) for name, pid in self.service_pids.items()}}

    async def settle(self) -> None:
        """Wait until everything that was acknowledged is in Postgres."""
        if self.peer is None or not self.peer.writes_behind:
            return
        connection = AsyncConnection(self.target)
        async with asyncio.timeout(BACKLOG_TIMEOUT_S):
            while orjson.loads((await connection.exchange(get(self.target, "/backlog"), 10.0)).body)["waiting"]:
                await asyncio.sleep(0.05)
        connection.close()


def free_port() -> int:
    """A port that was free a moment ago."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def same_host(port: int) -> Target:
    """A local target with the Host header that all contestants share."""
    return Target("127.0.0.1", port, "localhost", None)


@contextlib.asynccontextmanager
async def start_peer(
    sandbox: Sandbox, peer: Peer, database_url: str, sections: Sequence[int] = ()
) -> AsyncIterator[Contestant]:
    """Run a peer on a database of its own."""
    connection = await asyncpg.connect(database_url)
    try:
        for statement in peer.statements():
            await connection.execute(statement)
    finally:
        await connection.close()
    port = free_port()
    settings = PeerEnvironment(database_url, sandbox.redis_url(), sandbox.jwt_secret, port, tuple(sections))
    environment = {**os.environ, **peer.environment, **settings.variables()}
    log = sandbox.home / f"{peer.name}.log"
    processes = [await launch(peer.command_line(port), environment, log) for _ in range(peer.processes)]
    try:
        contestant = Contestant(peer.name, same_host(port), database_url, processes, sandbox.services.pids, peer=peer)
        await _wait_until_up(contestant.target, processes, log)
        yield contestant
    finally:
        await stop(processes)


@contextlib.asynccontextmanager
async def start_seatline(
    sandbox: Sandbox,
    database_url: str,
    name: str = SEATLINE,
    settings: Mapping[str, str] | None = None,
    *,
    command: Sequence[str] = UP,
) -> AsyncIterator[Contestant]:
    """Run ``seatline up``, or another command that keeps running, with these settings on a database of its own."""
    home = sandbox.home / f"home-{name.replace(' ', '-')}"
    home.mkdir()
    environment = {
        **os.environ,
        "SEATLINE_HOME": str(home),
        "DATABASE_URL": database_url,
        "REDIS_URL": sandbox.redis_url(),
        "SEATLINE_JWT_SECRET": sandbox.jwt_secret,
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
            name, same_host(port), database_url, [process], sandbox.services.pids, home=home, environment=environment
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
        CommandError: if its exit code is not among ``accepted``.
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
    """Start a server in a session of its own, with its output in ``log``."""
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
    """Check that no process has ended.

    Raises:
        CommandError: if one has; with the end of the log.
    """
    for process in processes:
        if process.returncode is not None:
            tail = log.read_text(encoding="utf-8", errors="replace")[-2000:]
            raise CommandError(f"a server ended while it started (exit {process.returncode}):\n{tail}", Exit.FAILURE)


async def stop(processes: Sequence[asyncio.subprocess.Process]) -> None:
    """Stop servers: SIGTERM, and SIGKILL for those that do not end in time."""
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
