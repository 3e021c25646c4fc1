"""One command on its way, from the moment in which the gateway takes it on until it is answered."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable

from allocator.model.commands import STUDENT_COMMANDS
from allocator.model.delivery import UNAVAILABLE, UNKNOWN, Envelope, Reply

log = logging.getLogger(__name__)

Tell = Callable[[Reply], None]
"""Is told a reply, once."""


class OpenRequest:
    """One command under way. ``in_doubt``: a call with it got no answer, so that it may have had its effect.

    It goes where ``section_id`` is, the first of the sections that it decides about. It stands in ``unanswered`` until
    it is answered or nobody waits for its answer any more.
    """

    __slots__ = ("deadline", "envelope", "hops", "in_doubt", "section_id", "tell", "unanswered")

    def __init__(
        self, envelope: Envelope, section_id: int, deadline: float, tell: Tell, unanswered: dict[OpenRequest, None]
    ) -> None:
        self.envelope = envelope
        self.section_id = section_id
        self.deadline = deadline
        self.hops = 0
        self.in_doubt = False
        self.tell: Tell | None = tell
        self.unanswered = unanswered
        unanswered[self] = None

    @property
    def is_over(self) -> bool:
        """Whether nobody waits for its answer any more."""
        return self.tell is None

    @property
    def can_be_looked_up(self) -> bool:
        """Whether it has a key by which an actor finds out what came of an earlier try."""
        return isinstance(self.envelope.command, STUDENT_COMMANDS)

    def resolve(self, reply: Reply) -> None:
        """Answer it, unless it is over."""
        tell = self.tell
        if tell is not None:
            self.abandon()
            try:
                tell(reply)
            except Exception:  # a bug, but it must not keep others, or the sweep, from their work
                log.exception("who asked could not be told")

    def abandon(self) -> None:
        """Nobody is to be told any more."""
        self.tell = None
        self.unanswered.pop(self, None)

    def give_up(self, *, sent: bool) -> None:
        """Answer that it is undecided. What was sent, or is in doubt, may have had its effect."""
        self.resolve(UNKNOWN if sent or self.in_doubt else UNAVAILABLE)


def give_up(requests: Iterable[OpenRequest], *, sent: bool) -> None:
    """Answer all of ``requests`` that they are undecided."""
    for request in list(requests):  # a copy: who is told may ask for something else at once
        request.give_up(sent=sent)


def give_up_late(requests: Iterable[OpenRequest], now: float, *, sent: bool) -> None:
    """The same for those that are past their deadline."""
    give_up([request for request in requests if request.deadline <= now], sent=sent)
