"""The system under test: a whole Seatline that reaches Postgres and Redis through proxies that inject faults."""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import asyncpg
import psutil
from redis.asyncio import Redis

from cluster.embedded import EmbeddedServices
from tests.acceptance.seatline import Seatline
from tests.conftest import database
from tests.faults.nodes import LocalCluster, Node
from tests.faults.tcp_proxy import Link, TcpProxy

SECTION_ACTOR, API_SERVER = "ray::SectionAct", "ray::ApiServer"


@dataclass
class Stand:
    """A running Seatline with two section actors, and everything that faults are injected into.

    ``database_url`` leads past the proxy: it is for whoever looks, not for whoever is looked at.
    """

    seatline: Seatline
    services: EmbeddedServices
    postgres: TcpProxy
    redis: TcpProxy
    database_url: str
    nodes: list[Node] = field(default_factory=list)

    def actor_pids(self) -> list[int]:
        """Processes of the section actors."""
        return self.pids_of(SECTION_ACTOR)

    def api_pids(self) -> list[int]:
        """Processes of the API servers."""
        return self.pids_of(API_SERVER)

    def pids_of(self, name: str) -> list[int]:
        """Processes of this Seatline and of its Ray nodes whose names begin so."""
        roots = [self.seatline.process.pid, *(node.process.pid for node in self.nodes)]
        return [pid for root in roots for pid in processes_below(root, name)]

    async def execute(self, statement: str, *arguments: object) -> None:
        """One statement as the database's owner, past the proxy."""
        await execute(self.database_url, statement, *arguments)

    async def fetchval(self, statement: str, *arguments: object) -> object:
        """One value, past the proxy."""
        connection = await asyncpg.connect(self.database_url)
        try:
            return await connection.fetchval(statement, *arguments)
        finally:
            await connection.close()

    async def flush_redis(self) -> None:
        """FLUSHALL."""
        redis = Redis.from_url(self.services.redis_url)
        try:
            await redis.flushall()
        finally:
            await redis.aclose()

    async def change_server_setting(self, name: str, value: str | None) -> None:
        """Of the whole Postgres, at once and for all connections; None: back to what it was."""
        change = f"ALTER SYSTEM RESET {name}" if value is None else f"ALTER SYSTEM SET {name} = '{value}'"
        await self.execute(change)
        await self.execute("SELECT pg_reload_conf()")


@contextlib.asynccontextmanager
async def open_stand(
    services: EmbeddedServices,
    directory: Path,
    name: str,
    *,
    cluster: LocalCluster | None = None,
    detach: bool = False,
    **settings: str,
) -> AsyncIterator[Stand]:
    """Start a Seatline of this name on its own database, and stop it at the end if it still runs.

    ``seatline up`` has a Ray of its own. With a ``cluster`` it is deployed on all nodes of that one by
    ``seatline serve``, on the host of its head; with ``detach`` no process of it stays.
    """
    await execute(services.database_url, f"CREATE DATABASE {name}")
    home = directory / name
    home.mkdir()
    host = cluster.head.host if cluster else None
    here = host.network.host_address if host else "127.0.0.1"
    async with (
        TcpProxy(postgres_socket(services), here) as postgres,
        TcpProxy(Path(urlsplit(services.redis_url).path), here) as redis,
    ):
        urls = f"postgresql://seatline@{here}:{postgres.port}/{name}", f"redis://{here}:{redis.port}/0"
        settings = {"SEATLINE_ACTORS_PER_NODE": "2", **settings}
        arguments: tuple[str, ...] = ("up", "--no-seed")
        if cluster is not None:
            settings |= cluster.settings
            arguments = ("serve", "--detach") if detach else ("serve",)
        prefix = host.prefix if host else ()
        seatline = await Seatline.start(home, *urls, arguments=arguments, prefix=prefix, **settings)
        database_url = database(services.database_url, name)
        stand = Stand(seatline, services, postgres, redis, database_url, cluster.nodes if cluster else [])
        try:
            yield stand
        finally:
            postgres.heal()
            redis.heal()
            if detach:
                await seatline.run("down")
            elif seatline.process.returncode is None:
                await seatline.stop()


async def execute(database_url: str, statement: str, *arguments: object) -> None:
    """One statement on a connection of its own."""
    connection = await asyncpg.connect(database_url)
    try:
        await connection.execute(statement, *arguments)
    finally:
        await connection.close()


def postgres_socket(services: EmbeddedServices) -> Path:
    """Where the embedded Postgres listens."""
    return Path(parse_qs(urlsplit(services.database_url).query)["host"][0]) / ".s.PGSQL.5432"


def processes_below(pid: int, name: str) -> list[int]:
    """Descendants of a process whose names begin with ``name``."""
    found: list[int] = []
    try:
        children = psutil.Process(pid).children(recursive=True)
    except psutil.NoSuchProcess:
        return found
    for child in children:
        with contextlib.suppress(psutil.NoSuchProcess):
            if child.name().startswith(name):
                found.append(child.pid)
    return found


def owner_of(link: Link, pids: list[int]) -> int | None:
    """Which of these processes is the client of a proxied connection."""
    for pid in pids:
        with contextlib.suppress(psutil.NoSuchProcess):
            connections = psutil.Process(pid).net_connections(kind="tcp")
            if any(one.laddr and one.laddr.port == link.client_port for one in connections):
                return pid
    return None


@contextlib.contextmanager
def frozen(*pids: int) -> Iterator[None]:
    """Processes that do nothing for the length of the block."""
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGCONT)
