"""Migrations, run from code: without an alembic.ini, so that an installed wheel can run them too."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import sqlalchemy as sa
from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy.ext.asyncio import AsyncConnection, create_async_engine

from persistence.names import APPLICATION_NAME
from persistence.schema.roles import grant_rights

MIGRATIONS = Path(__file__).parent / "migrations"

MIGRATION_LOCK = 0x5EA7_11E5
"""The advisory lock of migrations. Nothing else may use this number."""

LOCK_TIMEOUT_S = 60


async def upgrade(sqlalchemy_url: str, revision: str = "head", *, app_role: str | None = None) -> None:
    """Upgrade the schema to ``revision`` in one transaction.

    Many processes may call it at once: the first does the work, the others wait for it and find it done.
    Within one process, upgrade one database at a time (Alembic keeps its context in globals).

    Args:
        sqlalchemy_url: of the database, with the owner of the tables as user.
        app_role: the role that gets the rights of persistence/schema/roles.py, and loses all others.

    Raises:
        MissingRoleError: if there is no such role.
    """

    def work(config: Config) -> None:
        command.upgrade(config, revision)
        if app_role is not None:
            grant_rights(config.attributes["connection"], app_role)

    await _run(sqlalchemy_url, work)


async def downgrade(sqlalchemy_url: str, revision: str) -> None:
    """Downgrade the schema to ``revision`` (``base`` for an empty database). Drops data."""
    await _run(sqlalchemy_url, lambda config: command.downgrade(config, revision))


async def current(sqlalchemy_url: str) -> str | None:
    """The revision of the database, or None before the first."""
    async with _connect(sqlalchemy_url) as connection:
        return await connection.run_sync(lambda sync: MigrationContext.configure(sync).get_current_revision())


def head() -> str:
    """The newest revision that this code knows."""
    revision = ScriptDirectory.from_config(_config()).get_current_head()
    if revision is None:
        raise RuntimeError(f"no migrations in {MIGRATIONS}: is the package installed whole?")
    return revision


async def new_revision(sqlalchemy_url: str, message: str) -> None:
    """For developers: draft the next migration from the difference between tables.py and the database."""

    def draft(config: Config) -> None:
        command.revision(config, message, autogenerate=True)

    await _run(sqlalchemy_url, draft)


async def _run(sqlalchemy_url: str, work: Callable[[Config], None]) -> None:
    async with _connect(sqlalchemy_url) as connection, connection.begin():
        # Taken before Alembic reads the version; released by the end of the transaction.
        await connection.execute(sa.select(sa.func.pg_advisory_xact_lock(MIGRATION_LOCK)))
        config = _config()

        def run(sync: sa.Connection) -> None:
            config.attributes["connection"] = sync
            work(config)

        await connection.run_sync(run)


def _config() -> Config:
    config = Config()
    # A % in the path of the installation would be read as an interpolation.
    config.set_main_option("script_location", str(MIGRATIONS).replace("%", "%%"))
    config.set_main_option("path_separator", "os")
    return config


@asynccontextmanager
async def _connect(sqlalchemy_url: str) -> AsyncIterator[AsyncConnection]:
    settings = {
        "application_name": f"{APPLICATION_NAME}-migrate",
        "statement_timeout": "0",
        "lock_timeout": f"{LOCK_TIMEOUT_S}s",
        "timezone": "UTC",
    }
    engine = create_async_engine(
        sqlalchemy_url,
        poolclass=sa.NullPool,
        connect_args={"timeout": 3.0, "server_settings": settings},
    )
    try:
        async with engine.connect() as connection:
            yield connection
    finally:
        await engine.dispose()
