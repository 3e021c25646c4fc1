"""Where a comparison runs: services of its own in a temporary home, and a database for each who takes part."""

from __future__ import annotations

import asyncio
import contextlib
import secrets
import shutil
import signal
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

import asyncpg

from cluster.cli.common import report_step
from cluster.config.settings import sqlalchemy_url
from cluster.embedded import EmbeddedServices
from persistence.imports.load.loader import LOADED_TABLES
from persistence.schema.migrate import upgrade

Fill = Callable[[str], Awaitable[None]]


@dataclass(slots=True)
class Testbed:
    """Args:
    home: a directory of its own, for services and for those who take part.
    services: Postgres and Valkey, used by nobody else.
    jwt_secret: signs all tokens.
    """

    home: Path
    services: EmbeddedServices
    jwt_secret: str
    _redis_databases: int = field(default=0)

    async def make_template(self, name: str, fill: Fill) -> None:
        """A database with Seatline's tables and what ``fill`` puts into it, for others to be cut from."""
        await self._execute(f'CREATE DATABASE "{name}"')
        url = self.database_url(name)
        await upgrade(sqlalchemy_url(url))
        await fill(url)
        connection = await asyncpg.connect(url)
        # Not of the tables that nobody has written to yet: plans for empty tables read them from end to end.
        await connection.execute(f"VACUUM (FREEZE) {', '.join(LOADED_TABLES)}")
        await connection.close()

    async def clone(self, name: str, template: str) -> str:
        """A database cut from ``template``; its address."""
        await self._execute(f'CREATE DATABASE "{name}" TEMPLATE "{template}" STRATEGY file_copy')
        return self.database_url(name)

    async def drop(self, name: str) -> None:
        """Take a database away, whoever is connected to it."""
        await self._execute(f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)')

    def database_url(self, name: str) -> str:
        """The address of a database of this stand."""
        return urlunsplit(urlsplit(self.services.database_url)._replace(path=f"/{name}"))

    def redis_url(self) -> str:
        """A Redis database that nobody has had. There are 16; the last is given again."""
        number = min(self._redis_databases, 15)
        self._redis_databases += 1
        return f"{self.services.redis_url}?db={number}"

    async def settle(self) -> None:
        """Write out what Postgres has in memory, so that every round begins alike."""
        await self._execute("CHECKPOINT")

    async def _execute(self, statement: str) -> None:
        connection = await asyncpg.connect(self.services.database_url)
        try:
            await connection.execute(statement)
        finally:
            await connection.close()


def _make_home() -> Path:
    home = Path(tempfile.mkdtemp(prefix="slb-"))
    home.chmod(0o711)  # as root, Postgres runs as another user and must get through
    return home


@contextlib.asynccontextmanager
async def open_testbed() -> AsyncIterator[Testbed]:
    """Start the services; take everything away at the end."""
    home = await asyncio.to_thread(_make_home)
    task = asyncio.current_task()
    if task is not None:  # so that nothing is left behind by a SIGTERM either
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
    try:
        async with EmbeddedServices(home / "s", report_step) as services:
            yield Testbed(home, services, secrets.token_urlsafe(32))
    finally:
        await asyncio.to_thread(shutil.rmtree, home, True)
