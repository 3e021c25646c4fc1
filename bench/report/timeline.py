"""A plot of a run of the autoscaling test: ``python -m bench.report.timeline .local/autoscaling.json -o X.svg``."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from typing import Annotated, Any

import orjson
import typer
from matplotlib import pyplot as plt
from matplotlib.axes import Axes

from bench.report.plots import WIDTH, to_svg
from cluster.cli.common import out

PANEL_HEIGHT = 1.9
BLUE, RED, GREY = "#1b6ca8", "#d1495b", "#8c8c8c"

Sample = dict[str, float]


def timeline(kept: dict[str, Any]) -> str:
    """Plots of nodes, answers and the longest answer, by second.

    Args:
        kept: the result of the test: ``timeline``, a sample for each second, and ``measured``, the whole load.
    """
    rows: list[Sample] = kept["timeline"]
    panels = [_nodes, _answers]
    if all("longest_ms" in row for row in rows):
        panels.append(_longest)
    size = (WIDTH, PANEL_HEIGHT * len(panels) + 0.6)
    figure, axes = plt.subplots(len(panels), sharex=True, figsize=size, layout="constrained")
    for draw, on in zip(panels, axes, strict=True):
        draw(on, rows)
        on.set_ylim(bottom=0)
        on.grid(axis="y", linewidth=0.3)
    axes[-1].set_xlabel("seconds")
    figure.suptitle(_summary(kept["measured"]), fontsize=9)
    return to_svg(figure)


def _nodes(axes: Axes, rows: list[Sample]) -> None:
    times = [row["s"] for row in rows]
    axes.fill_between(times, [row["nodes"] for row in rows], step="post", color=BLUE, alpha=0.15, label="running")
    axes.step(times, [row["members"] for row in rows], where="post", color=BLUE, label="with a section actor")
    axes.step(times, [row["wanted"] for row in rows], where="post", color=RED, linestyle="--", label="wanted")
    axes.step(times, [row["draining"] for row in rows], where="post", color=GREY, linestyle=":", label="draining")
    axes.set_yticks(range(int(max(row["nodes"] for row in rows)) + 1))
    axes.set_ylabel("nodes")
    axes.legend(fontsize=7, loc="upper left", bbox_to_anchor=(1.0, 1.0), frameon=False)


def _answers(axes: Axes, rows: list[Sample]) -> None:
    rates = [(after["decided"] - before["decided"]) / (after["s"] - before["s"]) for before, after in pairwise(rows)]
    axes.plot([row["s"] for row in rows[1:]], rates, color=BLUE, linewidth=1.0)
    axes.set_ylabel("answers per second")


def _longest(axes: Axes, rows: list[Sample]) -> None:
    axes.plot([row["s"] for row in rows], [row["longest_ms"] for row in rows], color=BLUE, linewidth=1.0)
    axes.set_ylabel("longest answer\nof the second, ms")


def _summary(measured: dict[str, Any]) -> str:
    latency = measured["latency_ms"]
    answers = sum(measured["outcomes"].values())
    points = ", ".join(f"{point} {latency[point]:,.0f} ms" for point in ("p50", "p99", "max"))
    return f"{answers:,} answers: {points}; {measured['shed']} shed, {measured['failed']} failed"


def main(
    kept: Annotated[Path, typer.Argument(help="The result of the test.", exists=True, dir_okay=False)],
    output: Annotated[Path, typer.Option("--output", "-o", help="The SVG.")],
) -> None:
    """Draw the timeline of a run of tests/faults/test_autoscaling.py."""
    output.write_text(timeline(orjson.loads(kept.read_bytes())) + "\n", encoding="utf-8")
    out.print(f"written to {output}", highlight=False, soft_wrap=True)


if __name__ == "__main__":
    typer.run(main)
