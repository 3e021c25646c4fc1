"""The way to the section actors: coalesces what waits for one actor into one call, retries, sheds, keeps deadlines."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Awaitable, Callable, Coroutine, Iterable
from dataclasses import dataclass

from allocator.model.commands import STUDENT_COMMANDS, RecheckHead
from allocator.model.delivery import OVERLOADED, UNAVAILABLE, UNKNOWN, Envelope, Reply, Undecided
from cluster.gateway.directory import Directory
from cluster.gateway.wire import WireCodec, WireError

log = logging.getLogger(__name__)

CallActor = Callable[[str, bytes], Awaitable[bytes]]
"""Sends one packed batch to the named actor. Raises ``ActorLostError`` if no answer came."""

Tell = Callable[[Reply], None]
"""Is told a reply, once."""

NO_EFFECT = frozenset({Undecided.OVERLOADED, Undecided.UNAVAILABLE})
"""What an actor says of a try that had no effect. It says nothing of an earlier try that got no answer."""

SWEEP_INTERVAL_S = 0.05
SLOW_CALL_S = 0.1
"""A call that takes longer does not keep others waiting: another leaves beside it."""
RETRY_PAUSE_S = 0.05
RETRY_PAUSE_MAX_S = 0.5
FOLLOWED_AT_ONCE = 2
"""Hops without a pause: a section that is being moved may send a request to its new owner, back, and there again."""
FOLLOW_PAUSE_S = 0.01
REST_MAX_S = 0.2
"""Longest pause between two tries of an actor that does not answer, however many requests wait for it."""
PORTION = 32
"""Replies told at a time. Waking all handlers of a large batch at once would keep connections unread meanwhile."""
ACTOR_MARGIN_S = 0.2
"""An actor is asked to give up this much before the caller does, so that its definite answer still arrives.

Of a shorter time it gets half.
"""


class ActorLostError(Exception):
    """A call to an actor ended without an answer: it may or may not have had its effect."""


class ActorAbsentError(ActorLostError):
    """There is no such actor, or no way to find it: nothing was sent."""


@dataclass(frozen=True, slots=True)
class GatewayLimits:
    """Args:
    deadline_s: how long a request may wait if its caller does not say.
    pending_max: requests that may wait for one actor; those beyond are answered ``OVERLOADED`` at once.
    batch_max: commands in one call.
    calls_max: calls in flight to one actor. Another leaves when as much waits as those in flight carry: then the
        actor finds it when its turn ends, and batches are hardly smaller (the larger they are, the less each command
        costs).
    unanswered_max: requests under way to all actors, wherever they wait; those beyond are answered ``OVERLOADED``.
    """

    deadline_s: float = 5.0
    pending_max: int = 4096
    batch_max: int = 512
    calls_max: int = 2
    unanswered_max: int = 16_384


class _Request:
    """One command under way. ``in_doubt``: a call with it got no answer, so that it may have had its effect.

    It goes where ``section_id`` is, the first of the sections that it decides about. It stands in ``unanswered`` until
    it is answered or nobody waits for its answer any more.
    """

    __slots__ = ("deadline", "envelope", "hops", "in_doubt", "section_id", "tell", "unanswered")

    def __init__(
        self, envelope: Envelope, section_id: int, deadline: float, tell: Tell, unanswered: dict[_Request, None]
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
        return self.tell is None

    @property
    def can_be_looked_up(self) -> bool:
        """Whether it has a key by which an actor finds out what came of an earlier try."""
        return isinstance(self.envelope.command, STUDENT_COMMANDS)

    def resolve(self, reply: Reply) -> None:
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
        self.resolve(UNKNOWN if sent or self.in_doubt else UNAVAILABLE)


class _Lane:
    """All that waits for one actor, and the calls in flight to it. ``losses``: calls in a row without an answer.

    Where something is pending, at least one call is in flight or about to be. ``is_slow`` is the last sweep's word.
    """

    __slots__ = ("calls", "in_flight", "is_slow", "losses", "name", "pending", "rests_until", "sent_at")

    def __init__(self, name: str) -> None:
        self.name = name
        self.pending: deque[_Request] = deque()
        self.in_flight: dict[_Request, None] = {}
        self.calls = 0
        self.losses = 0
        self.rests_until = 0.0
        self.sent_at: dict[int, float] = {}  # of the calls in flight
        self.is_slow = False

    @property
    def is_idle(self) -> bool:
        return not (self.pending or self.in_flight or self.calls)


class Gateway:
    """Implements ``allocator.ports.CommandGateway``. One for each API process."""

    def __init__(self, directory: Directory, call: CallActor, limits: GatewayLimits) -> None:
        self._directory = directory
        self._call = call
        self._limits = limits
        self._codec = WireCodec()
        self._lanes: dict[str, _Lane] = {}
        # Dicts as sets that keep their order: what happens to many happens in the order in which they came.
        self._paused: dict[_Request, None] = {}
        self._homeless: dict[_Request, None] = {}
        self._tasks: dict[asyncio.Task[None], None] = {}
        self._unanswered: dict[_Request, None] = {}
        self._loop = asyncio.get_running_loop()
        self._sweeper = self._loop.create_task(self._sweep(), name="gateway-deadlines")

    @property
    def waiting(self) -> int:
        """Requests that wait to be sent."""
        return len(self._homeless) + sum(len(lane.pending) for lane in self._lanes.values())

    async def submit(self, envelope: Envelope, deadline_s: float | None = None) -> Reply:
        """See ``allocator.ports.CommandGateway``."""
        answer: asyncio.Future[Reply] = self._loop.create_future()

        def tell(reply: Reply) -> None:
            if not answer.done():  # cancelled a moment ago
                answer.set_result(reply)

        request = self._take_on(envelope, tell, deadline_s)
        try:
            return await answer
        finally:
            request.abandon()

    def send(self, envelope: Envelope, tell: Tell) -> None:
        """See ``allocator.ports.CommandGateway``."""
        self._take_on(envelope, tell, None)

    def _take_on(self, envelope: Envelope, tell: Tell, deadline_s: float | None) -> _Request:
        deadline = self._loop.time() + (self._limits.deadline_s if deadline_s is None else deadline_s)
        section_id = envelope.command.needs.section_ids[0]
        owner = self._directory.owner(section_id)
        has_room = self._has_room(owner)
        request = _Request(envelope, section_id, deadline, tell, self._unanswered)
        if has_room:
            self._route(request, owner)
        else:
            request.resolve(OVERLOADED)
        return request

    def _has_room(self, owner: str | None) -> bool:
        if len(self._unanswered) >= self._limits.unanswered_max:
            return False
        lane = None if owner is None else self._lanes.get(owner)
        return lane is None or len(lane.pending) < self._limits.pending_max

    def directory_changed(self) -> None:
        """Send what waits for an actor that does not own its section any more, or for any actor, to the new owner.

        What is in flight goes on: if its actor does not have the section any more, it will say so.
        """
        homeless, self._homeless = self._homeless, {}
        for request in homeless:
            if not request.is_over:
                self._route(request, self._directory.owner(request.section_id))
        for lane in list(self._lanes.values()):
            waiting, lane.pending = lane.pending, deque()
            for request in waiting:
                owner = self._directory.owner(request.section_id)
                if owner == lane.name:
                    lane.pending.append(request)
                else:
                    self._route(request, owner)
        for name in [name for name, lane in self._lanes.items() if lane.is_idle and not self._directory.includes(name)]:
            del self._lanes[name]

    async def close(self) -> None:
        """Stop. What still waits is answered as unavailable or unknown."""
        tasks = [self._sweeper, *self._tasks]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        _give_up(self._paused, sent=False)
        _give_up(self._homeless, sent=False)
        for lane in list(self._lanes.values()):
            _give_up(lane.pending, sent=False)
        _give_up(self._unanswered, sent=True)

    # Sending

    def _route(self, request: _Request, owner: str | None) -> None:
        """Have it sent to ``owner``. It was taken on before, so it is not turned away however many wait there."""
        if owner is None:
            self._homeless[request] = None
            return
        lane = self._lanes.get(owner)
        if lane is None:
            lane = self._lanes[owner] = _Lane(owner)
        lane.pending.append(request)
        if not lane.calls or self._needs_another(lane):
            self._start_drain(lane)

    def _start_drain(self, lane: _Lane) -> None:
        lane.calls += 1
        self._start(self._drain(lane))

    def _needs_another(self, lane: _Lane) -> bool:
        """Whether a call should leave beside those in flight."""
        return lane.calls < self._limits.calls_max and self._is_behind(lane)

    def _is_behind(self, lane: _Lane) -> bool:
        if lane.is_slow:
            return True
        under_way = len(lane.in_flight)  # none while the first call is about to be sent: it takes all that waits
        return 0 < min(under_way, self._limits.batch_max) <= len(lane.pending)

    async def _drain(self, lane: _Lane) -> None:
        """One call after the other, each with all that gathered during the last."""
        try:
            while lane.pending:
                await self._rest(lane)
                batch = self._take(lane)
                if batch:
                    await self._send(lane, batch)
                if lane.calls > 1 and not self._is_behind(lane):
                    break  # the others carry on
        finally:
            lane.calls -= 1

    async def _rest(self, lane: _Lane) -> None:
        """The retry budget of an actor: while it does not answer, a few calls a second, whoever asks how often."""
        while (rest_s := lane.rests_until - self._loop.time()) > 0:
            await asyncio.sleep(rest_s)

    def _take(self, lane: _Lane) -> list[_Request]:
        now = self._loop.time()
        batch: list[_Request] = []
        while lane.pending and len(batch) < self._limits.batch_max:
            request = lane.pending.popleft()
            if request.is_over:
                continue
            if request.deadline <= now:
                request.give_up(sent=False)
                continue
            batch.append(request)
        return batch

    async def _send(self, lane: _Lane, batch: list[_Request]) -> None:
        try:
            packed = self._pack(batch)
        except Exception:  # a command that cannot be packed: a bug, but nobody may be left waiting
            log.exception("cannot pack %d commands", len(batch))
            _give_up(batch, sent=False)
            return
        lane.in_flight.update(dict.fromkeys(batch))
        lane.sent_at[id(batch)] = self._loop.time()
        try:
            replies = self._codec.decode_replies(await self._call(lane.name, packed))
            if len(replies) != len(batch):
                raise WireError(f"{len(replies)} replies to {len(batch)} commands")
        except (ActorLostError, WireError) as error:
            log.warning("no answer from %s for %d requests: %s", lane.name, len(batch), error)
            lane.losses += 1
            lane.rests_until = self._loop.time() + min(RETRY_PAUSE_S * 2.0 ** min(lane.losses - 1, 8), REST_MAX_S)
            if isinstance(error, ActorAbsentError):
                self._retry(batch)
            else:
                self._retry_in_doubt(batch)
        except Exception:  # a bug: as above
            log.exception("a call to %s failed", lane.name)
            _give_up(batch, sent=True)
        except asyncio.CancelledError:  # closing
            _give_up(batch, sent=True)
            raise
        else:
            lane.losses = 0
            if len(batch) <= PORTION:
                self._conclude_all(lane.name, batch, replies)
            else:
                self._start(self._conclude_in_portions(lane.name, batch, replies))
        finally:
            del lane.sent_at[id(batch)]
            for request in batch:
                lane.in_flight.pop(request, None)

    def _pack(self, batch: list[_Request]) -> bytes:
        now = self._loop.time()
        left_s = [max(0.0, request.deadline - now) for request in batch]
        budgets_s = [max(left - ACTOR_MARGIN_S, left / 2) for left in left_s]
        return self._codec.encode_commands(
            [(request.envelope, budget_s) for request, budget_s in zip(batch, budgets_s, strict=True)]
        )

    async def _conclude_in_portions(self, actor: str, batch: list[_Request], replies: list[Reply]) -> None:
        done = 0
        try:
            while done < len(batch):
                self._conclude_all(actor, batch[done : done + PORTION], replies[done : done + PORTION])
                done += PORTION
                await asyncio.sleep(0)
        finally:  # closing
            _give_up(batch[done:], sent=True)

    def _conclude_all(self, actor: str, batch: list[_Request], replies: list[Reply]) -> None:
        for request, reply in zip(batch, replies, strict=True):
            self._conclude(actor, request, reply)

    def _conclude(self, actor: str, request: _Request, reply: Reply) -> None:
        """Answer with what an actor said, unless it can be known better elsewhere or later."""
        undecided = reply.undecided
        if undecided is None:
            if reply.recheck:
                self._recheck(request, reply)
            request.resolve(reply)
        elif undecided is Undecided.MOVED:
            self._follow(request, actor, reply.owner)
        elif undecided is Undecided.UNKNOWN and request.deadline - self._loop.time() > ACTOR_MARGIN_S:
            self._retry_in_doubt([request])
        elif undecided in NO_EFFECT:
            request.resolve(UNKNOWN if request.in_doubt else reply)
        else:
            request.resolve(reply)

    def _recheck(self, request: _Request, reply: Reply) -> None:
        """Start what follows elsewhere from a change, as the service that committed it says: whoever asked or not."""
        student_id = request.envelope.command.needs.student_id
        if student_id is not None:
            for section_id in reply.recheck:
                self.send(Envelope(RecheckHead(section_id, student_id)), _told_nobody)

    # Trying again

    def _follow(self, request: _Request, actor: str, owner: str | None) -> None:
        """Go where the section is said to be by ``actor``: at once at first, with pauses if it is sent around.

        A request that is sent around goes where the directory says, unless it is just from there.
        """
        request.hops += 1
        if request.hops <= FOLLOWED_AT_ONCE and owner is not None:
            self._route(request, owner)
            return

        def target(section_id: int) -> str | None:
            placed = self._directory.owner(section_id)
            return placed if owner is None or placed not in {None, actor} else owner

        self._later([request], FOLLOW_PAUSE_S * 2.0 ** min(request.hops - FOLLOWED_AT_ONCE - 1, 8), target)

    def _retry(self, batch: list[_Request]) -> None:
        """Send again what had no effect."""
        for request in batch:
            request.hops += 1
        hops = max(request.hops for request in batch)
        self._later(batch, RETRY_PAUSE_S * 2.0 ** min(hops - 1, 8), self._directory.owner)

    def _retry_in_doubt(self, batch: list[_Request]) -> None:
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
            self._retry(again)

    def _later(self, batch: list[_Request], pause_s: float, owner_of: Callable[[int], str | None]) -> None:
        self._paused.update(dict.fromkeys(batch))

        async def send_later() -> None:
            await asyncio.sleep(min(pause_s, RETRY_PAUSE_MAX_S))
            for request in batch:
                self._paused.pop(request, None)
            for request in batch:
                self._route(request, owner_of(request.section_id))

        self._start(send_later())

    def _start(self, work: Coroutine[None, None, None]) -> None:
        task = self._loop.create_task(work)
        self._tasks[task] = None
        task.add_done_callback(self._finished)

    def _finished(self, task: asyncio.Task[None]) -> None:
        self._tasks.pop(task, None)
        if not task.cancelled() and task.exception() is not None:
            log.error("the gateway failed", exc_info=task.exception())

    # Deadlines

    async def _sweep(self) -> None:
        """Answer what is past its deadline, whatever its actor does. One timer for all is cheaper than one for each."""
        while True:
            await asyncio.sleep(SWEEP_INTERVAL_S)
            now = self._loop.time()
            _give_up_late(self._paused, now, sent=False)
            _give_up_late(self._homeless, now, sent=False)
            if self._homeless:
                self._homeless = {request: None for request in self._homeless if not request.is_over}
            for lane in list(self._lanes.values()):
                _give_up_late(lane.in_flight, now, sent=True)
                _give_up_late(lane.pending, now, sent=False)
                lane.is_slow = any(now - sent_at > SLOW_CALL_S for sent_at in lane.sent_at.values())
                if lane.pending and self._needs_another(lane):
                    self._start_drain(lane)


def _told_nobody(_reply: Reply) -> None:
    """Nobody waits for it: the section would look by itself a little later."""


def _give_up(requests: Iterable[_Request], *, sent: bool) -> None:
    for request in list(requests):  # a copy: who is told may ask for something else at once
        request.give_up(sent=sent)


def _give_up_late(requests: Iterable[_Request], now: float, *, sent: bool) -> None:
    _give_up([request for request in requests if request.deadline <= now], sent=sent)
