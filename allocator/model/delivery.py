"""What goes around a command on its way to its owner, and around an outcome on its way back."""

from __future__ import annotations

import enum
from typing import NamedTuple

from allocator.model.commands import Command
from allocator.model.outcomes import Code, Outcome


class Envelope(NamedTuple):
    """A command and how it was asked for.

    ``key`` identifies a student's request for ever (one key, one effect); it is empty for what staff and Seatline
    itself ask. ``keep_answer`` says that the client chose the key and may ask again; ``maybe_tried`` that this key may
    already have had its effect, so that it must be looked up.
    """

    command: Command
    key: str = ""
    keep_answer: bool = False
    maybe_tried: bool = False


class Undecided(enum.StrEnum):
    """Why a command was not decided.

    After all but ``UNKNOWN`` it had no effect and may be sent again. ``UNKNOWN`` alone says that it may have had one.
    """

    MOVED = "moved"
    OVERLOADED = "overloaded"
    UNAVAILABLE = "unavailable"
    UNKNOWN = "unknown"


class Reply(NamedTuple):
    """What comes back for one command: its outcome, or why there is none.

    ``owner`` is who has the section now, if it moved and that is known. ``replayed`` marks the stored answer of an
    earlier try with the same key. ``recheck`` are sections of other owners on whose waitlists the change may have
    unblocked the student: whoever delivers the reply has them looked at.
    """

    outcome: Outcome | None
    undecided: Undecided | None = None
    owner: str | None = None
    replayed: bool = False
    recheck: tuple[int, ...] = ()

    @property
    def code(self) -> Code | Undecided:
        """How it ended: the outcome's code, or why there is none."""
        return self.outcome.code if self.outcome is not None else self.undecided or Undecided.UNKNOWN


OVERLOADED = Reply(None, Undecided.OVERLOADED)
UNAVAILABLE = Reply(None, Undecided.UNAVAILABLE)
UNKNOWN = Reply(None, Undecided.UNKNOWN)
MOVED = Reply(None, Undecided.MOVED)
