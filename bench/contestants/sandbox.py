"""The sandbox: Postgres and Valkey in a temporary home, with a database for each contestant."""

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
class Sandbox:
    """Services for a comparison.

    Args:
        home: a temporary directory for services and contestants.
        services: Postgres and Valkey, used by the contestants only.
        jwt_secret: signs all tokens.
    """

    home: Path
    services: EmbeddedServices
    jwt_secret: str
    _redis_databases: int = field(default=0)

    async def make_template(self, name: str, fill: Fill) -> None:
        """Create a database with Seatline's tables, filled by ``fill``, from which others are cloned."""
        await self._execute(f'CREATE DATABASE "{name}"')
        url = self.database_url(name)
        await upgrade(sqlalchemy_url(url))
        await fill(url)
        connection = await asyncpg.connect(url)
        # Only filled tables: VACUUM of an empty one gives plans that read it from end to end.
        await connection.execute(f"VACUUM (FREEZE) {', '.join(LOADED_TABLES)}")
        await connection.close()

    async def clone(self, name: str, template: str) -> str:
        """Clone ``template``; the URL of the clone."""
        await self._execute(f'CREATE DATABASE "{name}" TEMPLATE "{template}" STRATEGY file_copy')
        return self.database_url(name)

    async def drop(self, name: str) -> None:
        """Drop a database, even with open connections."""
        await self._execute(f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)')

    def database_url(self, name: str) -> str:
        """The URL of a database of this sandbox."""
        return urlunsplit(urlsplit(self.services.database_url)._replace(path=f"/{name}"))

    def redis_url(self) -> str:
        """The URL of an unused Redis database. There are 16; after that, the last is shared."""
        number = min(self._redis_databases, 15)
        self._redis_databases += 1
        return f"{self.services.redis_url}?db={number}"

    async def settle(self) -> None:
        """Write a checkpoint, so that every round begins in the same state."""
        await self._execute("CHECKPOINT")

    async def _execute(self, statement: str) -> None:
        connection = await asyncpg.connect(self.services.database_url)
        try:
            await connection.execute(statement)
        finally:
            await connection.close()


def _make_home() -> Path:
    home = Path(tempfile.mkdtemp(prefix="slb-"))
    home.chmod(0o711)  # as root, Postgres runs as another user, which must reach its directory
    return home


@contextlib.asynccontextmanager
async def open_sandbox() -> AsyncIterator[Sandbox]:
    """Start the services; stop them and delete their data at the end."""
    home = await asyncio.to_thread(_make_home)
    task = asyncio.current_task()
    if task is not None:  # clean up after SIGTERM, too
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
    try:
        async with EmbeddedServices(home / "s", report_step) as services:
            yield Sandbox(home, services, secrets.token_urlsafe(32))
    finally:
        await asyncio.to_thread(shutil.rmtree, home, True)
