"""``seatline bench report``: the kept results as an HTML page."""

from __future__ import annotations

import typer

from bench.report.page import write_page
from cluster.cli.common import CommandError, Exit, err, out


def report() -> None:
    """Write bench/results/report.html from bench/results/latest.json: one page, with plots.

    Example:

        seatline bench report
    """
    try:
        out.print(f"report: {write_page()}", highlight=False, soft_wrap=True)
    except CommandError as error:
        err.print(f"[bold red]error:[/] {error}", highlight=False)
        raise typer.Exit(int(Exit.FAILURE)) from None
