"""Results as tables in the terminal."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rich.console import Console
from rich.table import Table

from bench.contestants.contestant import SEATLINE
from bench.measuring.rounds import RoundRow
from cluster.cli.common import err, out

WIDE = 150
"""Columns of the output if it is no terminal."""


def show_table(table: Table) -> None:
    """Print a table, in full width if the output is no terminal."""
    (out if out.is_terminal else Console(width=WIDE)).print(table)


def show_round(row: RoundRow) -> None:
    """Print one line for a finished round."""
    latency = row["latency_ms"] or row["read_latency_ms"]
    cost = row.get("cpu_us_per_enrolment", row.get("cpu_us_per_answer", 0.0))
    err.print(
        f"  {row['workload']:<10} round {row['round'] + 1}  {row['contestant']:<24}"
        f" {row['connections']:>5,} at once {row['enrolled_per_s']:>9,.0f} enrolled/s"
        f" {row['achieved_per_s']:>9,.0f} answers/s"
        f"  p50 {latency.get('p50', 0):7.1f} ms  p99 {latency.get('p99', 0):7.1f} ms  server {cost:7.0f} us"
        f"  client {row['client']['cpu_share']:4.0%}",
        highlight=False,
        soft_wrap=True,
    )


def show_medians(medians: Mapping[str, Mapping[str, RoundRow]], ratios: Mapping[str, Mapping[str, float]]) -> None:
    """Print throughput, latency and CPU by workload and contestant."""
    table = Table(
        "workload", "contestant", "at once", "per second", "ours / theirs", "p50 ms", "p99 ms", "p99.9 ms",
        "server CPU us", "client CPU", title="Closed loop: medians of the rounds", title_justify="left",
    )  # fmt: skip
    for column in table.columns[2:]:
        column.justify = "right"
    for workload, by_name in medians.items():
        for name, one in by_name.items():
            latency = one["latency_ms"]
            ratio = ratios.get(name, {}).get(workload)
            cost = one.get("cpu_us_per_enrolment", one.get("cpu_us_per_answer"))
            table.add_row(
                workload, f"[bold]{name}[/]" if name == SEATLINE else name,
                f"{one['connections']:,}", f"{one['per_s']:,.0f}", f"{ratio:.2f}" if ratio else "",
                *(_ms(latency, point) for point in ("p50", "p99", "p99.9")),
                f"{cost:,.0f}" if cost else "", f"{one['client_cpu_share']:.0%}",
            )  # fmt: skip
        table.add_section()
    show_table(table)


def show_verified(verified: Mapping[str, Any]) -> None:
    """Print the findings of ``verify``."""
    for name, one in verified.items():
        if one["ok"]:
            out.print(f"[green]verify {name}: every invariant holds[/]", highlight=False)
        else:
            out.print(f"[bold red]verify {name}: {one['findings']}[/]", highlight=False)


def show_rows(title: str, columns: list[str], rows: list[list[object]]) -> None:
    """Print a table: texts are aligned left, numbers right."""
    table = Table(*columns, title=title, title_justify="left")
    for index, column in enumerate(table.columns):
        if rows and not isinstance(rows[0][index], str):
            column.justify = "right"
    for row in rows:
        table.add_row(*(_text(value) for value in row))
    show_table(table)


def _ms(latency: Mapping[str, float], point: str) -> str:
    return f"{latency[point]:,.1f}" if point in latency else ""


def _text(value: object) -> str:
    if value is None:
        return ""
    if isinstance(value, float):
        return f"{value:,.2f}" if abs(value) < 100 else f"{value:,.0f}"
    return f"{value:,}" if isinstance(value, int) else str(value)
