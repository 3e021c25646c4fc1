"""``python -m bench``, which is ``seatline bench``."""

from __future__ import annotations

import typer

from bench.commands.overload import overload
from bench.commands.throughput import throughput

app = typer.Typer(
    help="How fast it is, and beside what else one could build. Every command starts its own services.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
)


@app.callback()
def _group() -> None:
    """Makes them subcommands even while there is only one."""


app.command()(throughput)
app.command()(overload)

if __name__ == "__main__":
    app()
