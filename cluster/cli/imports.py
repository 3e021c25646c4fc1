"""``seatline import``: reads files of other systems into the database."""

from __future__ import annotations

import enum
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape
from rich.table import Table

from cluster.cli.common import Exit, err, out, print_json, run_async
from cluster.cli.databases import database_errors, forget_cached_catalogue, open_database
from cluster.cli.progress import progress_bars
from cluster.cli.seat_commands import seat_commands
from cluster.config.settings import Settings, read_settings
from persistence.imports.formats.itc2019 import read_itc2019, read_solution_alone
from persistence.imports.formats.ucsd import read_ucsd
from persistence.imports.load.loader import importing, load
from persistence.imports.report import ImportProgress, ImportReport, SeatsNotChangedError
from persistence.imports.rows import Bundle

imports = typer.Typer(
    help="Import a catalogue and students from files. Repeating an import changes nothing. "
    "Exits 1 if rows were refused; all others are imported then."
)

REFUSALS_SHOWN = 20

File = Annotated[Path, typer.Argument(exists=True, dir_okay=False, readable=True)]
NewSemester = Annotated[
    bool, typer.Option("--new-semester", help="Make the semester if it is not there; else that is an error.")
]
Json = Annotated[bool, typer.Option("--json", help="Print the summary as JSON.")]


class Overlap(enum.StrEnum):
    """Whether sections get their meetings, so that the schedule rule can see them overlap."""

    CHECK = "check"
    IGNORE = "ignore"


@imports.command("ucsd")
def import_ucsd(
    file: Annotated[Path, typer.Argument(help="A *_sections.tsv or .tsv.gz.", exists=True, dir_okay=False)],
    semester: Annotated[str | None, typer.Option(help="Code of the semester; else from the file's name.")] = None,
    credit_count: Annotated[int, typer.Option("--credits", min=0, max=100, help="Credits of every section.")] = 4,
    weeks: Annotated[int, typer.Option(min=1, max=63, help="Weeks of the term.")] = 10,
    new_semester: NewSemester = False,
    as_json: Json = False,
) -> None:
    """Import a catalogue of UC San Diego (UCSD-Historical-Enrollment-Data).

    9999 seats mean unlimited and stay 9,999; 0 seats mean closed. Weekly meetings are kept, exams are not. The header
    names the columns: their order does not matter, nor do others. Rows that are not certain are refused.

    Examples:

        seatline import ucsd sp22_sections.tsv.gz --new-semester

        seatline import ucsd s122_sections.tsv --semester S122 --weeks 5 --json
    """
    _import(lambda progress: read_ucsd(
        file, semester=semester, credit_count=credit_count, weeks=weeks, progress=progress
    ), new_semester, as_json)  # fmt: skip


@imports.command("itc2019")
def import_itc2019(
    instance: Annotated[
        Path | None, typer.Argument(help="The instance, .xml or .xml.gz; leave out if there is none.", exists=True)
    ] = None,
    *,
    solution: Annotated[Path, typer.Option(help="The solution, .xml or .xml.gz.", exists=True, dir_okay=False)],
    credit_count: Annotated[int, typer.Option("--credits", min=0, max=100, help="Credits of every class.")] = 1,
    max_credits: Annotated[int, typer.Option(min=0, max=10_000, help="Credit limit of every student.")] = 99,
    capacity_factor: Annotated[
        float, typer.Option(help="Without an instance: seats as a multiple of the students of the solution.")
    ] = 1.0,
    overlap: Annotated[
        Overlap | None, typer.Option(help="Keep meetings (check) or not (ignore). Default: check with an instance.")
    ] = None,
    new_semester: NewSemester = False,
    as_json: Json = False,
) -> None:
    """Import an instance of the International Timetabling Competition 2019, joined with a solution.

    A class becomes a section whose component is its subpart. Without an instance there are no limits: capacities
    are then derived from the solution, and sections have no meetings unless --overlap check asks for them. The
    semester has the name of the problem.

    Examples:

        seatline import itc2019 pu-cs-fal07.xml --solution pu-cs-fal07.solution.xml --new-semester

        seatline import itc2019 --solution pu-llr-spr17.solution.xml.gz --capacity-factor 0.9
    """

    def read(progress: ImportProgress) -> Bundle:
        if instance is None:
            return read_solution_alone(
                solution, credit_count=credit_count, max_credits=max_credits, capacity_factor=capacity_factor,
                keep_meetings=overlap is Overlap.CHECK, progress=progress,
            )  # fmt: skip
        bundle = read_itc2019(instance, solution, credit_count=credit_count, max_credits=max_credits, progress=progress)
        if overlap is Overlap.IGNORE:
            bundle.sections = [section._replace(meetings=()) for section in bundle.sections]
            bundle.remarks.append("Sections are imported without meetings: the schedule rule takes no part.")
        return bundle

    _import(read, new_semester, as_json)


def _import(read: Callable[[ImportProgress], Bundle], new_semester: bool, as_json: bool) -> None:
    report = run_async(_read_and_load(read, new_semester))
    if as_json:
        print_json(report.as_json())
    else:
        show_report(report)
    if report.refusals:
        rest = "all others are imported" if report.counts else "nothing was imported"
        err.print(f"[yellow]{len(report.refusals):,} rows were refused[/]; {rest}", highlight=False)
        raise typer.Exit(int(Exit.FAILURE))


async def _read_and_load(read: Callable[[ImportProgress], Bundle], new_semester: bool) -> ImportReport:
    settings: Settings = read_settings()
    with database_errors(), progress_bars() as progress:
        bundle = read(progress)
        async with (
            open_database(settings) as urls,
            importing(urls.database_url) as connection,
            seat_commands(settings, urls) as send_commands,
        ):
            try:
                report = await load(connection, bundle, progress, send_commands, new_semester=new_semester)
            except SeatsNotChangedError:
                await forget_cached_catalogue(urls.redis_url)  # all else is there
                raise
            if report.changed_anything:
                await forget_cached_catalogue(urls.redis_url)
    return report


def show_report(report: ImportReport) -> None:
    """The summary of an import, as a table and a few lines."""
    table = Table(
        "rows", "made", "changed", "unchanged", title=f"Semester {escape(report.semester)}", title_justify="left"
    )
    for column in table.columns[1:]:
        column.justify = "right"
    for kind, one in report.counts.items():
        if one.touched or one.unchanged:
            table.add_row(kind, f"{one.made:,}", f"{one.changed:,}", f"{one.unchanged:,}")
    out.print(table)
    for name, value in report.notes.items():
        out.print(f"  {name.replace('_', ' ')}: {value:,}", highlight=False)
    for remark in report.remarks:
        out.print(f"  {remark}", highlight=False, markup=False)
    out.print(f"Took {report.seconds:.1f} s; {len(report.refusals):,} rows were refused.", highlight=False)
    for refusal in report.refusals[:REFUSALS_SHOWN]:
        place = f"line {refusal.line}: " if refusal.line else ""
        err.print(f"  refused: {place}{refusal.reason}", highlight=False, markup=False)
    if len(report.refusals) > REFUSALS_SHOWN:
        err.print(f"  ... and {len(report.refusals) - REFUSALS_SHOWN:,} more: --json lists them all")
