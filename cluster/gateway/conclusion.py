"""What follows from what an actor says, or does not say: an answer, another owner, or another try."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine

from allocator.model.commands import RecheckHead
from allocator.model.delivery import UNKNOWN, Envelope, Reply, Undecided
from cluster.gateway.directory import Directory
from cluster.gateway.open_request import OpenRequest, Tell, give_up

NO_EFFECT = frozenset({Undecided.OVERLOADED, Undecided.UNAVAILABLE})
"""What an actor says of a try that had no effect. It says nothing of an earlier try that got no answer."""

RETRY_PAUSE_S = 0.05
RETRY_PAUSE_MAX_S = 0.5
FOLLOWED_AT_ONCE = 2
"""Hops without a pause: a section that is being moved may send a request to its new owner, back, and there again."""
FOLLOW_PAUSE_S = 0.01
PORTION = 32
"""Replies told at a time. Waking all handlers of a large batch at once would keep connections unread meanwhile."""
ACTOR_MARGIN_S = 0.2
"""An actor is asked to give up this much before the caller does, so that its definite answer still arrives.

Of a shorter time it gets half.
"""


class Conclusion:
    """Concludes requests.

    Args:
        route: sends a request to an owner, None if there is none yet.
        send: sends a new command.
        start: runs a coroutine beside everything else.
    """

    def __init__(
        self,
        directory: Directory,
        route: Callable[[OpenRequest, str | None], None],
        send: Callable[[Envelope, Tell], None],
        start: Callable[[Coroutine[None, None, None]], None],
    ) -> None:
        self._directory = directory
        self._route = route
        self._send = send
        self._start = start
        self._now = asyncio.get_running_loop().time
        self.paused: dict[OpenRequest, None] = {}
        """Requests that wait a moment before they are sent again, in the order in which they came."""

    def answered(self, actor: str, batch: list[OpenRequest], replies: list[Reply]) -> None:
        """An actor replied to a batch, in its order."""
        if len(batch) <= PORTION:
            self._conclude_all(actor, batch, replies)
        else:
            self._start(self._conclude_in_portions(actor, batch, replies))

    async def _conclude_in_portions(self, actor: str, batch: list[OpenRequest], replies: list[Reply]) -> None:
        done = 0
        try:
            while done < len(batch):
                self._conclude_all(actor, batch[done : done + PORTION], replies[done : done + PORTION])
                done += PORTION
                await asyncio.sleep(0)
        finally:  # closing
            give_up(batch[done:], sent=True)

    def _conclude_all(self, actor: str, batch: list[OpenRequest], replies: list[Reply]) -> None:
        for request, reply in zip(batch, replies, strict=True):
            self._conclude(actor, request, reply)

    def _conclude(self, actor: str, request: OpenRequest, reply: Reply) -> None:
        """Answer with what an actor said, unless it can be known better elsewhere or later."""
        undecided = reply.undecided
        if undecided is None:
            if reply.recheck:
                self._recheck(request, reply)
            request.resolve(reply)
        elif undecided is Undecided.MOVED:
            self._follow(request, actor, reply.owner)
        elif undecided is Undecided.UNKNOWN and request.deadline - self._now() > ACTOR_MARGIN_S:
            self.retry_in_doubt([request])
        elif undecided in NO_EFFECT:
            request.resolve(UNKNOWN if request.in_doubt else reply)
        else:
            request.resolve(reply)

    def _recheck(self, request: OpenRequest, reply: Reply) -> None:
        """Start what follows elsewhere from a change, as its service says: also if nobody waits for the answer."""
        student_id = request.envelope.command.needs.student_id
        if student_id is not None:
            for section_id in reply.recheck:
                self._send(Envelope(RecheckHead(section_id, student_id)), _tell_nobody)

    # Trying again

    def _follow(self, request: OpenRequest, actor: str, owner: str | None) -> None:
        """Go where the section is said to be by ``actor``: at once at first, with pauses if it is sent around.

        A request that was sent on often goes where the directory says, unless that is the actor which sent it on.
        """
        request.hops += 1
        if request.hops <= FOLLOWED_AT_ONCE and owner is not None:
            self._route(request, owner)
            return

        def target(section_id: int) -> str | None:
            placed = self._directory.owner(section_id)
            return placed if owner is None or placed not in {None, actor} else owner

        self._later([request], FOLLOW_PAUSE_S * 2.0 ** min(request.hops - FOLLOWED_AT_ONCE - 1, 8), target)

    def retry(self, batch: list[OpenRequest]) -> None:
        """Send again what had no effect."""
        for request in batch:
            request.hops += 1
        hops = max(request.hops for request in batch)
        self._later(batch, RETRY_PAUSE_S * 2.0 ** min(hops - 1, 8), self._directory.owner)

    def retry_in_doubt(self, batch: list[OpenRequest]) -> None:
        """Send again under the same keys: the actor looks them up before it decides anything anew.

        What has no key cannot be looked up. If the first try comes late, after somebody else's change, a second one
        would undo that change: only who asked can tell whether to ask again.
        """
        again = []
        for request in batch:
            request.in_doubt = True
            if request.can_be_looked_up:
                request.envelope = request.envelope._replace(maybe_tried=True)
                again.append(request)
            else:
                request.give_up(sent=True)
        if again:
            self.retry(again)

    def _later(self, batch: list[OpenRequest], pause_s: float, owner_of: Callable[[int], str | None]) -> None:
        self.paused.update(dict.fromkeys(batch))

        async def send_later() -> None:
            await asyncio.sleep(min(pause_s, RETRY_PAUSE_MAX_S))
            for request in batch:
                self.paused.pop(request, None)
            for request in batch:
                self._route(request, owner_of(request.section_id))

        self._start(send_later())


def _tell_nobody(_reply: Reply) -> None:
    """Nobody waits for it: the section would look by itself a little later."""
