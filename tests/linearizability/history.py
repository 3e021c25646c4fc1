"""Histories: the operations of clients with their answers, in the order of time."""

from __future__ import annotations

import itertools
import math
from collections import defaultdict
from typing import NamedTuple

from allocator.model.commands import Command
from allocator.model.outcomes import Outcome


class Operation(NamedTuple):
    """One command, under its key if it has one, with the span in which it took effect, if it did.

    ``invoked`` and ``returned`` are ticks of the recorder's clock. One whose outcome stayed unknown has None as its
    outcome and infinity as its return: it may take effect at any time from its invocation on, or never.
    """

    process: str
    command: Command
    invoked: float
    returned: float
    outcome: Outcome | None
    key: str = ""


class Recorder:
    """Writes down operations as they begin and end.

    A request that is sent again under its key is one operation, from its first try to its definite answer. Time is
    a counter: within one process that is the true order, whatever happens to the clock.
    """

    def __init__(self) -> None:
        self._ticks = itertools.count()
        self._calls = itertools.count()
        self._open: dict[int, tuple[str, Command, int, str]] = {}
        self._closed: list[Operation] = []
        self.failed_count = 0

    def invoke(self, process: str, command: Command, key: str = "") -> int:
        """A client sends a command. Returns the call, to be ended by one of the others."""
        call = next(self._calls)
        self._open[call] = (process, command, next(self._ticks), key)
        return call

    def ok(self, call: int, outcome: Outcome) -> None:
        """It got a definite answer, a refusal among them."""
        process, command, invoked, key = self._open.pop(call)
        self._closed.append(Operation(process, command, invoked, next(self._ticks), outcome, key))

    def failed(self, call: int) -> None:
        """It is known to have had no effect. It leaves the history: had it had one, the rest would not add up."""
        del self._open[call]
        self.failed_count += 1

    def unknown(self, call: int) -> None:
        """Its client gave up without an answer."""
        process, command, invoked, key = self._open.pop(call)
        self._closed.append(Operation(process, command, invoked, math.inf, None, key))

    def by_section(self) -> dict[int, list[Operation]]:
        """The operations of each section in the order of their invocations; those still open are unknown."""
        sections: dict[int, list[Operation]] = defaultdict(list)
        still_open = [Operation(process, cmd, at, math.inf, None, key) for process, cmd, at, key in self._open.values()]
        for operation in sorted([*self._closed, *still_open], key=lambda one: one.invoked):
            for section_id in operation.command.needs.section_ids:
                sections[section_id].append(operation)
        return dict(sections)
