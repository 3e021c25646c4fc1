"""``seatline verify`` and ``seatline doctor``."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict
from typing import Annotated, Any

import typer
from rich.table import Table
from rich.text import Text

from cluster.cli.common import AsJson, CommandError, Exit, err, out, print_json, run_async
from cluster.cli.databases import open_database
from cluster.config.runfile import read_run_file
from cluster.config.settings import Settings, read_settings
from persistence.verify import Checked, Finding, Memory
from persistence.verify import verify as verify_database


def register(app: typer.Typer) -> None:
    """Add these commands."""
    app.command()(verify)
    app.command()(doctor)


def verify(
    live: Annotated[
        bool,
        typer.Option("--live", help="While requests are served: skip checks that hold only when none is under way."),
    ] = False,
    memory: Annotated[
        bool, typer.Option("--memory/--no-memory", help="Also ask running section actors what they hold in memory.")
    ] = True,
    as_json: AsJson = False,
) -> None:
    """Check all promises on the database, and on the memory of a running Seatline. Changes nothing.

    Exits with 0 if all hold, 5 if one is broken (and shows the rows), 4 if the database cannot be reached.

    Examples:

        seatline verify

        seatline verify --live --json

        DATABASE_URL=postgresql://host/seatline seatline verify --no-memory
    """
    checks, findings, note = run_async(_verify(live=live, memory=memory))
    if as_json:
        print_json(
            {
                "ok": not findings,
                "memory": note,
                "checks": [one._asdict() for one in checks],
                "findings": [asdict(finding) for finding in findings],
            }
        )
    else:
        _show_checks(checks, note)
        _show_findings(findings)
    if findings:
        raise typer.Exit(int(Exit.BROKEN_INVARIANT))


async def _verify(*, live: bool, memory: bool) -> tuple[list[Checked], list[Finding], str]:
    settings = read_settings()
    source, note = _memory(settings) if memory else (None, "not asked for")
    checks: list[Checked] = []
    async with open_database(settings) as urls:
        with err.status("checking ...") as status:

            def report(one: Checked) -> None:
                checks.append(one)
                err.print(_line(one), highlight=False)

            def replayed(events: int) -> None:
                status.update(f"replaying the history: {events:,} events")

            findings = await verify_database(urls.database_url, source, live=live, progress=report, replayed=replayed)
    return checks, findings, note


def _memory(settings: Settings) -> tuple[Memory | None, str]:
    """A function that asks the running actors, or None; and a note on which it is."""
    run = read_run_file(settings.home)
    if run is None:
        return None, f"no Seatline runs on {settings.home}"

    async def ask() -> list[Any]:
        from cluster.processes.deployment import memory_of_running  # noqa: PLC0415  (importing Ray takes a second)

        try:
            return await memory_of_running(run)
        except ConnectionError as error:
            raise CommandError(f"{error}. `--no-memory` checks the database alone.", Exit.UNAVAILABLE) from error

    return ask, "compared"


def _line(one: Checked) -> Text:
    mark = ("✗", "bold red") if one.total else ("✓", "green")
    return Text.assemble("  ", mark, f" {one.invariant:<4}{one.title} ", (f"{one.seconds:.1f} s", "dim"))


def _show_checks(checks: list[Checked], memory: str) -> None:
    table = Table(title="What Seatline promises", title_justify="left")
    table.add_column("")
    table.add_column("holds")
    table.add_column("offending rows", justify="right")
    table.add_column("note")
    for one in sorted(checks, key=lambda one: int(one.invariant[1:])):
        style = "bold red" if one.total else ""
        table.add_row(one.invariant, one.title, str(one.total or ""), one.note or "", style=style)
    if memory != "compared":
        table.add_row(
            "I11", "What the actors have in memory is what Postgres has", "", f"left out: {memory}", style="dim"
        )
    out.print(table)


def _show_findings(findings: list[Finding]) -> None:
    for finding in findings:
        out.print(Text(f"\n{finding.invariant} is broken: not so that “{finding.title}”", style="bold red"))
        for row in finding.rows:
            out.print(Text("  " + ", ".join(f"{name}={value}" for name, value in row.items())), soft_wrap=True)
        if finding.total > len(finding.rows):
            out.print(f"  ... and {finding.total - len(finding.rows):,} more")


def doctor(as_json: AsJson = False) -> None:
    """Check what is configured, installed and reachable, and say what to correct. Changes and starts nothing.

    Exits with 0 if nothing is bad, 3 if a setting is wrong, 4 if something that is needed cannot be used.

    Examples:

        seatline doctor

        seatline doctor --json | jq '.rows[] | select(.state != "ok")'
    """
    from cluster.doctor import CheckKind, CheckResult, CheckState, examine  # noqa: PLC0415  (most commands do not need it)

    rows: list[CheckResult] = run_async(examine())
    bad = {row.kind for row in rows if row.state is CheckState.BAD}
    if as_json:
        print_json({"ok": not bad, "rows": [asdict(row) for row in rows]})
    else:
        out.print(_doctor_table(rows))
    if CheckKind.CONFIGURATION in bad:
        raise typer.Exit(int(Exit.CONFIGURATION))
    if bad:
        raise typer.Exit(int(Exit.UNAVAILABLE))


def _doctor_table(rows: Iterable[Any]) -> Table:
    table = Table(title="Checks", title_justify="left")
    for column in ("", "check", "result", "what to do"):
        table.add_column(column, overflow="fold")
    marks = {"ok": Text("ok", "green"), "warn": Text("warn", "yellow"), "bad": Text("bad", "bold red")}
    for row in rows:
        table.add_row(marks[row.state], row.name, Text(row.value), Text(row.mend))
    return table
