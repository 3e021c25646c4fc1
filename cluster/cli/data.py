"""``seatline seed`` and ``token``; the groups ``import`` and ``replay`` are in modules of their own."""

from __future__ import annotations

from pathlib import Path
from time import perf_counter
from typing import Annotated

import asyncpg
import typer

from cluster.cli.common import CommandError, Exit, Urls, out, print_json, report_step, run_async
from cluster.cli.databases import forget_cached_catalogue, open_database
from cluster.cli.imports import imports, show_report
from cluster.cli.progress import progress_bars
from cluster.cli.replay import TOKEN_TTL_S, replays
from cluster.cli.seat_commands import seat_commands
from cluster.cli.tokens import Mint, read_students, token_line, write_private
from cluster.config.secrets import demo_password
from cluster.config.settings import Environment, Settings, plain_postgres_url, read_settings
from persistence.imports.report import ImportProgress, SeatsNotChangedError, no_progress
from persistence.imports.seed.campus import SECTIONS_MAX, STUDENTS_MAX, SeedReport, seed_campus

DEMO_LOGINS_FILE = "demo-logins.txt"


def register(app: typer.Typer) -> None:
    """Add these commands."""
    app.command()(seed)
    app.command()(token)
    app.add_typer(imports, name="import", no_args_is_help=True)
    app.add_typer(replays, name="replay", no_args_is_help=True)


def seed(
    sections: Annotated[int, typer.Option(min=1, max=SECTIONS_MAX, help="How many sections.")] = 600,
    students: Annotated[int, typer.Option(min=0, max=STUDENTS_MAX, help="How many students.")] = 5_000,
    number: Annotated[int, typer.Option("--seed", min=0, help="The same seed gives the same campus.")] = 1,
    demo_logins: Annotated[
        bool | None,
        typer.Option(help="Make a login for each of the three roles. Default: yes, but never in production."),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the summary as JSON.")] = False,
) -> None:
    """Generate a believable campus: courses, sections, teachers, students with a history. Repeating it changes nothing.

    Examples:

        seatline seed

        seatline seed --sections 8000 --students 40000 --seed 7
    """
    settings, report = run_async(_seed(sections, students, number, demo_logins))
    if as_json:
        print_json({**report.imported.as_json(), "demo_logins": report.demo_logins})
        return
    show_report(report.imported)
    if report.demo_logins:
        out.print("\nDemo logins:\n" + _demo_lines(settings, report), highlight=False)


async def _seed(sections: int, students: int, number: int, demo: bool | None) -> tuple[Settings, SeedReport]:
    settings = read_settings()
    with progress_bars() as progress:
        async with open_database(settings) as urls:
            return settings, await _seed_into(settings, urls, sections, students, number, demo, progress)


async def _seed_into(
    settings: Settings,
    urls: Urls,
    sections: int,
    students: int,
    number: int,
    demo: bool | None,
    progress: ImportProgress,
) -> SeedReport:
    production = settings.env is Environment.PRODUCTION
    if production and demo:
        raise CommandError("SEATLINE_ENV=production gets no demo logins", Exit.CONFIGURATION)
    password = None if production or demo is False else demo_password(settings)
    try:
        async with seat_commands(settings, urls) as send_commands:
            report = await seed_campus(
                urls.database_url, sections, students, number, progress,
                demo_password=password, send_commands=send_commands,
            )  # fmt: skip
    except SeatsNotChangedError:
        await forget_cached_catalogue(urls.redis_url)  # all else is there
        raise
    if password is not None:
        path = settings.home / "secrets" / DEMO_LOGINS_FILE
        write_private(path, [_demo_lines(settings, report)])
    if report.imported.changed_anything:
        await forget_cached_catalogue(urls.redis_url)
    return report


def _demo_lines(settings: Settings, report: SeedReport) -> str:
    password = demo_password(settings)
    return "\n".join(f"  {role:<8} {email}  {password}" for role, email in report.demo_logins.items())


async def seed_if_empty(settings: Settings, urls: Urls, sections: int, students: int, number: int) -> None:
    """Seed a demo campus unless there is a semester already. Never in production."""
    if settings.env is Environment.PRODUCTION:
        return
    started = perf_counter()
    database_url = plain_postgres_url(urls.owner_url)
    connection = await asyncpg.connect(database_url, timeout=5.0)
    try:
        empty = not await connection.fetchval("SELECT EXISTS (SELECT FROM semesters)")
    finally:
        await connection.close()
    if empty:
        here = Urls(database_url, urls.redis_url, database_url)
        await _seed_into(settings, here, sections, students, number, True, no_progress)
        report_step(f"demo campus: {sections:,} sections, {students:,} students", perf_counter() - started)


def token(
    student: Annotated[str | None, typer.Option(help="Student number.")] = None,
    everybody: Annotated[bool, typer.Option("--all", help="All students; needs --out.")] = False,
    semester: Annotated[str | None, typer.Option(help="With --all: only those registered in this semester.")] = None,
    file: Annotated[
        Path | None, typer.Option("--out", help="File for one JSON object per line, readable only by you.")
    ] = None,
    ttl_s: Annotated[int, typer.Option(min=30, help="Lifetime in seconds.")] = TOKEN_TTL_S,
    as_json: Annotated[bool, typer.Option("--json", help="Print an object with the student's id.")] = False,
) -> None:
    """Make access tokens without a login. For development and load tests: refused in production.

    Examples:

        curl -H "Authorization: Bearer $(seatline token --student S000001)" localhost:8080/api/auth/me

        seatline token --all --out tokens.jsonl
    """
    if (student is None) is not everybody:
        raise typer.BadParameter("give either --student NUMBER or --all")
    if everybody and file is None:
        raise typer.BadParameter("--all needs --out FILE")
    lines = run_async(_token_lines(student, semester, ttl_s, bare=not everybody and not as_json and file is None))
    if file is None:
        typer.echo(lines[0])
        return
    write_private(file, lines)
    if as_json:
        print_json({"tokens": len(lines), "file": str(file)})
    else:
        out.print(f"{len(lines):,} tokens in {file}", highlight=False)


async def _token_lines(student: str | None, semester: str | None, ttl_s: int, *, bare: bool) -> list[str]:
    settings = read_settings()
    mint = Mint(settings, ttl_s)
    async with open_database(settings) as urls:
        found = await read_students(urls.database_url, number=student, semester=semester)
    if not found:
        raise CommandError(f"there is no student {student}" if student else "there are no such students")
    return [mint.token(one) if bare else token_line(one, mint.token(one)) for one in found]
