"""The table of all fault tests, printed at the end of a run and written to files."""

from __future__ import annotations

import datetime
import platform
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from pathlib import Path

import orjson
from rich.console import Console
from rich.table import Table

ROWS = 33
DIRECTORY = Path(__file__).parents[2] / ".local"


@dataclass
class RowReport:
    """What came of one row.

    Args:
        number: of the row in the programme; several tests may try one row.
        fault: what it is about.
        injected: what was done, with which means.
        requests, acknowledged, unknown: of the clients; unknown are those that never got a definite answer.
        answers: what was answered meanwhile that was not definite.
        pause_s: the longest time without any definite answer.
        recovery_s: from the end of the fault until every section had answered a request again.
        verify: what ``seatline verify`` said.
        history: what the comparison with the clients' log and the linearizability checker said.
        notes: what else was measured.
        nearest: why this is not the fault itself but the nearest to it that one machine allows.
        passed: whether all checks held.
    """

    number: int
    fault: str
    injected: list[str] = field(default_factory=list)
    requests: int = 0
    acknowledged: int = 0
    unknown: int = 0
    answers: dict[str, int] = field(default_factory=dict)
    pause_s: float | None = None
    recovery_s: float | None = None
    verify: str = "not run"
    history: str = "not checked"
    notes: list[str] = field(default_factory=list)
    nearest: str = ""
    passed: bool = False

    def cells(self) -> list[str]:
        """The row as texts, in the order of ``COLUMNS``."""
        notes = [*self.notes, *([f"nearest on one machine: {self.nearest}"] if self.nearest else [])]
        return [
            str(self.number),
            self.fault,
            "; ".join(self.injected),
            f"{self.requests:,}",
            f"{self.acknowledged:,}",
            str(self.unknown),
            _seconds(self.pause_s),
            _seconds(self.recovery_s),
            self.verify,
            self.history,
            "; ".join(notes),
            "holds" if self.passed else "BROKEN",
        ]


COLUMNS = (
    "#",
    "fault",
    "injected",
    "requests",
    "acknowledged",
    "unknown",
    "longest pause",
    "recovery",
    "verify",
    "history",
    "notes",
    "",
)


def table(rows: Iterable[RowReport]) -> Table:
    """For the terminal."""
    shown = Table(title="Faults", title_justify="left", show_lines=True)
    for name in COLUMNS:
        shown.add_column(name, justify="right" if name in {"#", "requests", "acknowledged", "unknown"} else "left")
    for row in rows:
        shown.add_row(*row.cells(), style="" if row.passed else "bold red")
    return shown


def write(rows: list[RowReport], directory: Path = DIRECTORY) -> Path:
    """The table as Markdown and all that is known as JSON.

    Returns:
        the Markdown file.
    """
    directory.mkdir(exist_ok=True)
    path = directory / "faults-report.md"
    tried = len({row.number for row in rows})
    lines = [
        f"{tried} of {ROWS} rows tried, {sum(not row.passed for row in rows)} broken; {machine()}.",
        "",
        "| " + " | ".join(COLUMNS) + " |",
        "|" + "---|" * len(COLUMNS),
        *("| " + " | ".join(cell.replace("|", "\\|") for cell in row.cells()) + " |" for row in rows),
    ]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    rows_as_json = orjson.dumps([asdict(row) for row in rows], option=orjson.OPT_INDENT_2)
    path.with_suffix(".json").write_bytes(rows_as_json)
    return path


def show(rows: list[RowReport]) -> None:
    """Print the table, as wide as it needs."""
    Console(width=220, stderr=False).print(table(rows))


def machine() -> str:
    """Where and when this was."""
    import os

    today = datetime.datetime.now(tz=datetime.UTC).date()
    return f"{today}, {os.cpu_count()} cores, Python {platform.python_version()}"


def _seconds(value: float | None) -> str:
    return "" if value is None else f"{value:.1f} s"
