"""``python -m bench``, which is ``seatline bench``."""

from __future__ import annotations

import typer

from bench.commands.ablation import ablation
from bench.commands.latency import latency
from bench.commands.micro import micro
from bench.commands.nodes import nodes
from bench.commands.overload import overload
from bench.commands.rebalance import rebalance
from bench.commands.replay_day import replay_day
from bench.commands.report import report
from bench.commands.scale import scale
from bench.commands.short import short
from bench.commands.spike import spike
from bench.commands.throughput import throughput

app = typer.Typer(
    help="How fast Seatline is, also against other designs. Every command starts its own services.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
)
COMMANDS = (
    throughput, latency, spike, replay_day, micro, ablation, scale, overload, rebalance, nodes, short, report,
)  # fmt: skip
for command in COMMANDS:
    app.command()(command)

if __name__ == "__main__":
    app()
