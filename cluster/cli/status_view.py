"""The tables of ``seatline status``."""

from __future__ import annotations

import time
from datetime import datetime
from typing import Any

from rich.console import Group
from rich.table import Table
from rich.text import Text

DECISIONS_SHOWN = 8
HOT_SHOWN = 5
KINDS = {"pooled": "sections", "own": "one section", "api": "API"}


def status_view(status: dict[str, Any]) -> Group:
    """The status of the controller as tables."""
    parts: list[Any] = [_headline(status), _nodes(status), _actors(status)]
    if status["hottest"]:
        parts.append(_hottest(status))
    parts.append(_decisions(status))
    return Group(*parts)


def _headline(status: dict[str, Any]) -> Text:
    sections = status["sections"]
    line = Text.assemble(
        ("Seatline ", "bold"),
        f"{status['placement']}, view {status['view_version']}",
        f"  {status['requests_per_s']:,.0f} requests/s",
        f"  {status['commands_per_s']:,.0f} decisions/s",
        f"  {status['waiting']:,} waiting",
        f"  p99 {status['p99_ms']:,.0f} ms" if status["p99_ms"] else "",
        f"  {sections['active']:,} sections active, {sections['with_own_actor']} with an actor of their own",
    )
    if status["failed_looks"]:
        line.append(f"\nRay has not answered the controller {status['failed_looks']} times in a row", "bold red")
    return line


def _nodes(status: dict[str, Any]) -> Table:
    wanted = f", {status['nodes_wanted']} wanted" if status["nodes_wanted"] else ""
    table = Table(title=f"Nodes ({len(status['nodes'])}{wanted})", title_justify="left")
    for column in ("node", "address", "CPUs", ""):
        table.add_column(column)
    for node in status["nodes"]:
        note = Text(f"draining: {node['draining']}", "yellow") if node["draining"] else Text("")
        table.add_row(node["label"], node["address"], f"{node['cpus']:g}", note)
    return table


def _actors(status: dict[str, Any]) -> Table:
    table = Table(title=f"Actors ({len(status['actors'])})", title_justify="left")
    for column in ("name", "for"):
        table.add_column(column, overflow="fold")
    for column in ("busy", "per s", "waiting", "sections", ""):
        table.add_column(column, justify="right")
    for one in status["actors"]:
        note = Text("")
        if one["silent_s"]:
            note = Text(f"silent for {one['silent_s']:.0f} s", "red")
        elif one["kind"] == "api":
            note = Text(f"port {one['port']}") if one["port"] else Text("does not listen", "yellow")
        elif not one["is_member"]:
            note = Text("leaving", "yellow")
        table.add_row(
            one["name"],
            KINDS[one["kind"]],
            f"{one['busy']:.0%}",
            f"{one['commands_per_s']:,.0f}",
            f"{one['waiting']:,}",
            "" if one["kind"] == "api" else f"{one['sections']:,}",
            note,
        )
    return table


def _hottest(status: dict[str, Any]) -> Table:
    table = Table(title="Hottest sections", title_justify="left")
    table.add_column("section", justify="right")
    table.add_column("per s", justify="right")
    table.add_column("actor")
    for one in status["hottest"][:HOT_SHOWN]:
        table.add_row(str(one["section_id"]), f"{one['commands_per_s']:,.0f}", one["actor"])
    return table


def _decisions(status: dict[str, Any]) -> Table:
    table = Table(title="Decided lately", title_justify="left")
    for column in ("at", "what", "", "why"):
        table.add_column(column, overflow="fold")
    now = time.time()
    for one in reversed(status["decisions"][-DECISIONS_SHOWN:]):
        at = (
            datetime.fromtimestamp(one["at"]).astimezone().strftime("%H:%M:%S" if now - one["at"] < 86_400 else "%d %b")
        )
        table.add_row(at, one["kind"], one["subject"], one["reason"])
    return table
