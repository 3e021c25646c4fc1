"""The ``seatline`` command."""

from __future__ import annotations

import os

import typer

from cluster.cli import checks, data, exports, notify, ops, run, sections

# Ray would ship the working directory of a `uv run` driver to its workers, and phone home.
os.environ.setdefault("RAY_ENABLE_UV_RUN_RUNTIME_ENV", "0")
os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")

app = typer.Typer(
    name="seatline",
    help="Course registration that is never wrong: sections as Ray actors, seats durable in Postgres.",
    no_args_is_help=True,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    add_completion=False,
)
run.register(app)
data.register(app)
checks.register(app)
notify.register(app)
exports.register(app)
ops.register(app)
sections.register(app)


def main() -> None:
    """Entry point of the console script."""
    app()
