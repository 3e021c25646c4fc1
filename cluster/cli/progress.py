"""Progress bars on standard error."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from rich.progress import BarColumn, Progress, TaskID, TaskProgressColumn, TextColumn, TimeElapsedColumn

from cluster.cli.common import err
from persistence.imports.report import ImportProgress


@contextlib.contextmanager
def progress_bars() -> Iterator[ImportProgress]:
    """A function that takes a step, how much of it is done, and the total. Each step has a bar; without a terminal none
    is drawn.
    """
    columns = (TextColumn("{task.description:<20}"), BarColumn(), TaskProgressColumn(), TimeElapsedColumn())
    with Progress(*columns, console=err, disable=not err.is_terminal) as bars:
        tasks: dict[str, TaskID] = {}

        def report(step: str, done: int, total: int) -> None:
            if step not in tasks:
                tasks[step] = bars.add_task(step, total=None)
            bars.update(tasks[step], completed=done, total=total or None)

        yield report
