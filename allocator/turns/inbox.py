"""What waits for a drain loop: commands with their deadlines, in the order in which they came."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Collection, Sequence

from allocator.model.commands import Command
from allocator.model.outcomes import Code, Outcome


class Call:
    """The commands of one call, answered together: one future for many commands."""

    __slots__ = ("_left", "done", "outcomes")

    def __init__(self, size: int) -> None:
        self.outcomes: list[Outcome | None] = [None] * size
        self._left = size
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def answer(self, index: int, outcome: Outcome) -> None:
        """Set one outcome; the last one completes the call."""
        self.outcomes[index] = outcome
        self._left -= 1
        if self._left == 0 and not self.done.done():
            self.done.set_result(None)


PATIENCE_TURNS = 8


class Entry:
    """One command that waits for its turn.

    ``in_doubt`` says that a commit with it may have happened; ``alone`` that a batch with it was refused by the
    database, so that it is tried by itself; ``deferrals`` counts the turns in which its student was locked elsewhere;
    ``patience`` the turns that it will still wait for its section's waitlist to be served first.
    """

    __slots__ = ("alone", "call", "command", "deadline", "deferrals", "in_doubt", "index", "patience")

    def __init__(self, command: Command, deadline: float, call: Call, index: int) -> None:
        self.command = command
        self.deadline = deadline
        self.call = call
        self.index = index
        self.deferrals = 0
        self.in_doubt = False
        self.alone = False
        self.patience = PATIENCE_TURNS

    def answer(self, outcome: Outcome) -> None:
        """Resolve the command."""
        self.call.answer(self.index, outcome)

    def give_up(self) -> None:
        """Its deadline has passed. Only what may have been committed is unknown; all else had no effect."""
        self.answer(Outcome(Code.UNKNOWN if self.in_doubt else Code.UNAVAILABLE, self.command.section_id))

    def move(self, owner: str | None = None) -> None:
        """Its section has another owner. What may have been committed is unknown: it must be looked up there."""
        self.answer(Outcome(Code.UNKNOWN if self.in_doubt else Code.MOVED, self.command.section_id, owner=owner))


class Inbox:
    """A bounded queue with a way to put entries back at its head, in their old order."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._entries: deque[Entry] = deque()
        self.filled = asyncio.Event()

    def __len__(self) -> int:
        return len(self._entries)

    def add(self, commands: Sequence[tuple[Command, float]]) -> Call:
        """Queue commands with their deadlines in monotonic seconds.

        Those beyond the limit are answered ``OVERLOADED`` at once.
        """
        call = Call(len(commands))
        for index, (command, deadline) in enumerate(commands):
            if len(self._entries) < self._limit:
                self._entries.append(Entry(command, deadline, call, index))
            else:
                call.answer(index, Outcome(Code.OVERLOADED, command.section_id))
        if self._entries:
            self.filled.set()
        return call

    def take(self, limit: int, now: float) -> list[Entry]:
        """Up to ``limit`` entries from the head; those past their deadline are answered instead.

        An entry that must be tried alone is taken alone.
        """
        taken: list[Entry] = []
        while self._entries and len(taken) < limit:
            if self._entries[0].alone and taken:
                break
            entry = self._entries.popleft()
            if entry.deadline <= now:
                entry.give_up()
                continue
            taken.append(entry)
            if entry.alone:
                break
        if not self._entries:
            self.filled.clear()
        return taken

    def put_back(self, entries: Sequence[Entry]) -> None:
        """Return entries to the head, in this order."""
        self._entries.extendleft(reversed(entries))
        if self._entries:
            self.filled.set()

    def expire(self, now: float) -> None:
        """Answer every entry that is past its deadline, wherever it stands."""
        for entry in self._entries:
            if entry.deadline <= now:
                entry.give_up()
        self._keep([entry for entry in self._entries if entry.deadline > now])

    def _keep(self, entries: list[Entry]) -> None:
        self._entries = deque(entries)
        if not entries:
            self.filled.clear()

    def withdraw(self, section_ids: Collection[int]) -> list[Entry]:
        """Take out all entries for some sections."""
        withdrawn = [entry for entry in self._entries if entry.command.section_id in section_ids]
        self._keep([entry for entry in self._entries if entry.command.section_id not in section_ids])
        return withdrawn

    def withdraw_all(self) -> list[Entry]:
        """Take out everything."""
        withdrawn = list(self._entries)
        self._keep([])
        return withdrawn
