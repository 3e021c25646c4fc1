"""``seatline replay``: sends real registrations to a running Seatline."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import asyncpg
import typer
from rich.table import Table

from allocator.model.section import SectionState
from cluster.cli.common import CommandError, Exit, err, out, print_json, run_async
from cluster.cli.databases import database_errors, open_database
from cluster.cli.progress import progress_bars
from cluster.cli.tokens import KnownStudent, Mint, find_students
from cluster.clients.http import Target
from cluster.clients.registrations import LoadReport, Registration, is_up, send_registrations
from cluster.config.runfile import read_run_file
from cluster.config.settings import Settings, read_settings
from persistence.imports.formats.itc2019 import student_number
from persistence.imports.formats.itc_files import Solution, read_instance, read_solution
from persistence.imports.report import ImportFileError, ImportProgress, no_progress
from persistence.verify import Finding, verify

replays = typer.Typer(help="Send real registrations over HTTP to a running Seatline.")

TOKEN_TTL_S = 8 * 3600


@replays.callback()
def _group() -> None:
    """Makes `itc2019` a subcommand although it is the only one."""


@replays.command("itc2019")
def replay_itc2019(
    instance: Annotated[
        Path | None, typer.Argument(help="The instance that was imported, if there was one.", exists=True)
    ] = None,
    *,
    solution: Annotated[Path, typer.Option(help="The solution, with its students.", exists=True, dir_okay=False)],
    url: Annotated[str | None, typer.Option(help="URL of the API. Default: that of the running `seatline up`.")] = None,
    connections: Annotated[int, typer.Option(min=1, max=10_000, help="Requests under way at once.")] = 64,
    seed: Annotated[int, typer.Option(help="Seed of the order in which requests are sent.")] = 1,
    as_json: Annotated[bool, typer.Option("--json", help="Print the result as JSON.")] = False,
) -> None:
    """Request every class of every student of a solution. Import the files first.

    Ends with `verify`. Exits 5 if an invariant is broken, 1 if a request got no decision, 4 if nothing answers.

    Examples:

        seatline replay itc2019 pu-cs-fal07.xml --solution pu-cs-fal07.solution.xml

        seatline replay itc2019 --solution pu-llr-spr17.solution.xml.gz --connections 256 --json
    """
    report, findings = run_async(_replay(instance, solution, url, connections, seed))
    if as_json:
        print_json({**report.as_json(), "verify": verify_json(findings)})
    else:
        show_load(report, findings)
    if findings:
        raise typer.Exit(int(Exit.BROKEN_INVARIANT))
    if not report.answered:
        raise typer.Exit(int(Exit.FAILURE))


async def _replay(
    instance: Path | None, solution_path: Path, url: str | None, connections: int, seed: int
) -> tuple[LoadReport, list[Finding]]:
    settings = read_settings()
    mint = Mint(settings, TOKEN_TTL_S)
    target = await find_target(settings, url)
    with database_errors(), progress_bars() as progress:
        solution = _read(instance, solution_path, progress)
        async with open_database(settings) as urls:
            registrations = await _registrations(urls.database_url, solution, mint)
            done = 0

            def count() -> None:
                nonlocal done
                done += 1
                progress("requests", done, len(registrations))

            report = await send_registrations(target, registrations, connections, seed, count)
            return report, await run_verify(settings, urls.database_url)


def _read(instance: Path | None, solution_path: Path, progress: ImportProgress) -> Solution:
    solution = read_solution(solution_path, progress)
    if instance is not None:
        name = read_instance(instance, no_progress).name
        if name != solution.name:
            raise ImportFileError(f"the solution is one of {solution.name}, the instance is {name}")
    if not any(one.students for one in solution.classes.values()):
        raise ImportFileError(f"{solution_path}: this solution has times and rooms only, no students to replay")
    return solution


async def _registrations(database_url: str, solution: Solution, mint: Mint) -> list[Registration]:
    connection = await asyncpg.connect(database_url, timeout=5.0)
    try:
        students = {one.number: one for one in await find_students(connection, semester=solution.name)}
        sections = await _sections(connection, solution.name)
    finally:
        await connection.close()
    _require_all(solution, students, sections)
    tokens = {number: mint.token(student) for number, student in students.items()}
    return [
        Registration(tokens[student_number(solution.name, student)], sections[key])
        for key, one in solution.classes.items()
        for student in one.students
    ]


async def _sections(connection: Any, semester: str) -> dict[str, int]:
    rows = await connection.fetch(
        """
        SELECT s.source_key, s.id FROM course_sections s JOIN semesters t ON t.id = s.semester_id
        WHERE t.code = $1 AND s.source_key IS NOT NULL
        """,
        semester,
    )
    return {row["source_key"]: row["id"] for row in rows}


def _require_all(solution: Solution, students: dict[str, KnownStudent], sections: dict[str, int]) -> None:
    wanted = {student_number(solution.name, student) for student in solution.students()}
    taken = {key for key, one in solution.classes.items() if one.students}
    lacking = len(wanted - students.keys()), len(taken - sections.keys())
    if any(lacking):
        raise CommandError(
            f"{lacking[0]:,} students and {lacking[1]:,} sections of {solution.name} are not in the database: "
            "run `seatline import itc2019` with the same files first"
        )


async def find_target(settings: Settings, url: str | None) -> Target:
    """The API at ``url``, or the one that ``seatline up`` runs, once it has answered.

    Raises:
        CommandError: if nothing answers there.
    """
    if url is None:
        run = read_run_file(settings.home)
        if run is None:
            raise CommandError(
                f"no running Seatline in {settings.home}: start one with `seatline up`, or say where it is with --url",
                Exit.UNAVAILABLE,
            )
        url = run.url
    try:
        target = Target.of(url)
    except ValueError as error:
        raise CommandError(str(error), Exit.USAGE) from error
    if not await is_up(target):
        raise CommandError(f"nothing answers {url}/health: is it `seatline up`'s address?", Exit.UNAVAILABLE)
    return target


async def run_verify(settings: Settings, database_url: str) -> list[Finding]:
    """What ``seatline verify`` would find, in the database and in the memory of the running actors.

    Actors that cannot be asked do not spoil a run: the database is verified without them, and the user is told.
    """
    err.print("verifying ...")
    run = read_run_file(settings.home)
    if run is None:
        return await verify(database_url)

    async def memory() -> list[SectionState]:
        from cluster.processes.deployment import memory_of_running  # noqa: PLC0415  (importing Ray takes a second)

        return await memory_of_running(run)

    try:
        return await verify(database_url, memory)
    except ConnectionError as error:
        err.print(f"[yellow]verifying without the memory of the actors[/]: {error}", highlight=False)
        return await verify(database_url)


def verify_json(findings: Sequence[Finding]) -> dict[str, object]:
    """Findings as JSON."""
    return {
        "ok": not findings,
        "findings": [
            {"invariant": one.invariant, "title": one.title, "total": one.total, "rows": one.rows} for one in findings
        ],
    }


def show_load(report: LoadReport, findings: Sequence[Finding]) -> None:
    """The result as tables."""
    summary = report.as_json()
    table = Table("outcome", "requests", title="Outcomes", title_justify="left")
    table.columns[1].justify = "right"
    for code, count in report.outcomes.most_common():
        table.add_row(code, f"{count:,}")
    out.print(table)
    out.print(f"{report.requests:,} requests in {report.seconds:.1f} s: {summary['per_second']} per second")
    latency = summary["latency_ms"]
    assert isinstance(latency, dict)  # noqa: S101  (for the type checker)
    out.print("latency in ms: " + ", ".join(f"{name} {value:g}" for name, value in latency.items()), highlight=False)
    out.print(f"retries: {report.retries:,}")
    if not findings:
        out.print("[green]verify: every invariant holds[/]")
    for one in findings:
        err.print(f"[bold red]{one.invariant} is broken[/]: {one.title} ({one.total:,} rows)", highlight=False)
