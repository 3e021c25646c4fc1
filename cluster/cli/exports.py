"""``seatline export``: writes data of Seatline to files."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from allocator.model.read_models import Roster
from cluster.cli.common import CommandError, err, run_async
from cluster.cli.databases import open_database
from cluster.config.settings import read_settings, sqlalchemy_url
from persistence.exports.roster_csv import roster_csv
from persistence.private_files import write_private_file

exports = typer.Typer(help="Export data to files.", no_args_is_help=True)


def register(app: typer.Typer) -> None:
    """Add these commands."""
    app.add_typer(exports, name="export")


@exports.callback()
def export() -> None:
    """Export data to files."""


@exports.command("roster")
def export_roster(
    section_id: Annotated[int, typer.Argument(min=1, help="Id of the section.")],
    bom: Annotated[bool, typer.Option(help="Begin with a byte order mark, by which Excel recognizes UTF-8.")] = False,
    file: Annotated[
        Path | None, typer.Option("--out", help="Write to this file, readable only by you. Default: standard output.")
    ] = None,
) -> None:
    """Write the roster and the waitlist of a section as CSV. Cells that look like formulas begin with an apostrophe.

    Examples:

        seatline export roster 7 | less

        seatline export roster 7 --bom --out roster-7.csv
    """
    content = roster_csv(run_async(_roster(section_id)), with_bom=bom)
    if file is None:
        sys.stdout.buffer.write(content)
        sys.stdout.flush()
        return
    write_private_file(file, content)
    err.print(f"{file}", highlight=False)


async def _roster(section_id: int) -> Roster:
    from persistence.queries.engine import make_engine  # noqa: PLC0415  (SQLAlchemy is slow to import)
    from persistence.queries.rosters import RosterQueries  # noqa: PLC0415

    async with open_database(read_settings()) as urls:
        engine = make_engine(sqlalchemy_url(urls.database_url), pool_size=1)
        try:
            roster = await RosterQueries(engine).roster(section_id)
        finally:
            await engine.dispose()
    if roster is None:
        raise CommandError(f"there is no section {section_id}")
    return roster
