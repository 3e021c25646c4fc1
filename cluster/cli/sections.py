"""``seatline section``: one section, as Postgres and Redis have it."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated

import typer
from rich.table import Table

from cluster.cli.common import AsJson, CommandError, Exit, out, print_json, run_async
from cluster.cli.databases import open_database
from cluster.cli.section_report import SectionReport, read_section
from cluster.config.settings import read_settings

section = typer.Typer(help="Show a section.", no_args_is_help=True)


def register(app: typer.Typer) -> None:
    """Add these commands."""
    app.add_typer(section, name="section")


@section.command("show")
def show(
    section_id: Annotated[int, typer.Argument(min=1)],
    as_json: AsJson = False,
) -> None:
    """Show who owns a section, under which epoch and lease, its seats and its waitlist. Changes nothing.

    Example:

        seatline section show 42
    """

    async def work() -> SectionReport | None:
        async with open_database(read_settings()) as urls:
            return await read_section(urls.database_url, urls.redis_url, section_id)

    report = run_async(work())
    if report is None:
        run_async(_no_such(section_id))
        return
    if as_json:
        print_json(asdict(report))
    else:
        out.print(_table(report))


async def _no_such(section_id: int) -> None:
    raise CommandError(f"there is no section {section_id}: `GET /api/courses` lists what there is", Exit.FAILURE)


def _table(report: SectionReport) -> Table:
    table = Table(title=f"Section {report.section_id}: {report.code}", title_justify="left", show_header=False)
    table.add_row("last owner", report.owner or "none yet: nobody has asked for it")
    table.add_row("epoch", str(report.epoch))
    table.add_row("lease", report.lease)
    table.add_row("seats", f"{report.enrolled} of {report.capacity} taken")
    table.add_row("registration", "open" if report.is_open else "closed")
    table.add_row("waitlist", f"{report.waitlisted} wait")
    for place in report.waitlist:
        note = f"blocked: {', '.join(place.blocked)}" if place.blocked else ""
        table.add_row("", f"{place.position}. place {place.place}, enrolment {place.enrollment_id} {note}".rstrip())
    return table
