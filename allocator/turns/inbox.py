"""What waits for a drain loop: commands with their deadlines, in the order in which they came."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Collection, Iterable, Sequence

from allocator.model.delivery import MOVED, OVERLOADED, UNAVAILABLE, UNKNOWN, Envelope, Reply


class Call:
    """The commands of one call, answered together: one future for many commands."""

    __slots__ = ("_left", "done", "replies")

    def __init__(self, size: int) -> None:
        self.replies: list[Reply | None] = [None] * size
        self._left = size
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def answer(self, index: int, reply: Reply) -> None:
        """Set one reply; the last one completes the call."""
        self.replies[index] = reply
        self._left -= 1
        if self._left == 0 and not self.done.done():
            self.done.set_result(None)


WAITS_MAX = 8


class Entry:
    """One command that waits for its turn, with what its envelope says.

    ``in_doubt`` says that a commit with it may have happened; ``alone`` that a batch with it was refused by the
    database, so that it is tried by itself; ``deferrals`` counts the turns in which its student was locked elsewhere;
    ``waits_left`` the turns that it will still wait for its section's waitlist to be served first.
    """

    __slots__ = (
        "alone",
        "call",
        "command",
        "deadline",
        "deferrals",
        "in_doubt",
        "index",
        "keep_answer",
        "key",
        "maybe_tried",
        "needs",
        "waits_left",
    )

    def __init__(self, envelope: Envelope, deadline: float, call: Call, index: int) -> None:
        self.command, self.key, self.keep_answer, self.maybe_tried = envelope
        self.needs = self.command.needs
        self.deadline = deadline
        self.call = call
        self.index = index
        self.deferrals = 0
        self.in_doubt = False
        self.alone = False
        self.waits_left = WAITS_MAX

    def answer(self, reply: Reply) -> None:
        """Resolve the command."""
        self.call.answer(self.index, reply)

    def give_up(self) -> None:
        """Answer that it was not decided. Only what may have been committed is unknown; all else had no effect."""
        self.answer(UNKNOWN if self.in_doubt else UNAVAILABLE)

    def move(self, owner: str | None = None) -> None:
        """Its section has another owner. What may have been committed is unknown: it must be looked up there."""
        self.answer((UNKNOWN if self.in_doubt else MOVED)._replace(owner=owner))


class Inbox:
    """A bounded queue with a way to put entries back at its head, in their old order."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._entries: deque[Entry] = deque()
        self.filled = asyncio.Event()

    def __len__(self) -> int:
        return len(self._entries)

    def add(self, envelopes: Sequence[tuple[Envelope, float]]) -> Call:
        """Queue commands, in their envelopes, with their deadlines in monotonic seconds.

        Those beyond the limit are answered ``OVERLOADED`` at once.
        """
        call = Call(len(envelopes))
        for index, (envelope, deadline) in enumerate(envelopes):
            if len(self._entries) < self._limit:
                self._entries.append(Entry(envelope, deadline, call, index))
            else:
                call.answer(index, OVERLOADED)
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
        withdrawn: list[Entry] = []
        kept: list[Entry] = []
        for entry in self._entries:
            concerned = any(section_id in section_ids for section_id in entry.needs.section_ids)
            (withdrawn if concerned else kept).append(entry)
        self._keep(kept)
        return withdrawn

    def withdraw_all(self) -> list[Entry]:
        """Take out everything."""
        withdrawn = list(self._entries)
        self._keep([])
        return withdrawn


def sections_of(entries: Iterable[Entry]) -> set[int]:
    """The sections that these entries need."""
    return {section_id for entry in entries for section_id in entry.needs.section_ids}
