"""``seatline db``: the database schema. Alembic and SQLAlchemy are slow to import: only the commands import them."""

from __future__ import annotations

from typing import Annotated

import typer

from cluster.cli.common import open_services, out, print_json, read_settings_or_exit, run_async
from cluster.cli.databases import upgrade_schema
from cluster.config.settings import sqlalchemy_url

db = typer.Typer(help="The database schema.", no_args_is_help=True)


@db.command("upgrade")
def db_upgrade(revision: Annotated[str, typer.Argument()] = "head") -> None:
    """Upgrade the schema to a revision, by default the newest.

    Runs as SEATLINE_OWNER_DATABASE_URL if that is set. The role of DATABASE_URL then gets the rights that serving
    requests needs, and no others.
    """

    async def work() -> None:
        async with open_services(settings) as urls:
            await upgrade_schema(urls, revision)

    settings = read_settings_or_exit()
    run_async(work())


@db.command("downgrade")
def db_downgrade(revision: Annotated[str, typer.Argument(help="A revision, -1, or base.")]) -> None:
    """Downgrade the schema to a revision. This can lose data."""

    async def work() -> None:
        from persistence.schema.migrate import downgrade  # noqa: PLC0415

        async with open_services(settings) as urls:
            await downgrade(sqlalchemy_url(urls.owner_url), revision)

    settings = read_settings_or_exit()
    run_async(work())


@db.command("current")
def db_current(as_json: Annotated[bool, typer.Option("--json")] = False) -> None:
    """Print the schema's revision."""

    async def work() -> str | None:
        from persistence.schema.migrate import current  # noqa: PLC0415

        async with open_services(settings) as urls:
            return await current(sqlalchemy_url(urls.database_url))

    settings = read_settings_or_exit()
    revision = run_async(work())
    if as_json:
        print_json({"revision": revision})
    else:
        out.print(revision or "no schema: run `seatline db upgrade`")
