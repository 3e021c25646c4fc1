"""The way to the section actors: what waits for one actor leaves in one call; load is shed, deadlines are kept.

A request goes one way down (taken on, routed into its owner's lane, sent with all that waits there) and one way back
(the actor's reply, what follows from it, the answer). See ``lane.py`` and ``conclusion.py``.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass

from allocator.model.delivery import OVERLOADED, Envelope, Reply
from cluster.gateway.conclusion import ACTOR_MARGIN_S, Conclusion
from cluster.gateway.directory import Directory
from cluster.gateway.errors import ActorAbsentError, ActorLostError
from cluster.gateway.lane import Lane
from cluster.gateway.open_request import OpenRequest, Tell, give_up, give_up_late
from cluster.gateway.wire import WireCodec, WireError

log = logging.getLogger(__name__)

CallActor = Callable[[str, bytes], Awaitable[bytes]]
"""Sends one packed batch to the named actor. Raises ``ActorLostError`` if no answer came."""

SWEEP_INTERVAL_S = 0.05


@dataclass(frozen=True, slots=True)
class GatewayLimits:
    """How much a gateway takes on.

    Args:
        deadline_s: how long a request may wait if its caller does not say.
        pending_max: requests that may wait for one actor; those beyond are answered ``OVERLOADED`` at once.
        batch_max: commands in one call.
        calls_max: calls in flight to one actor. Another leaves when as much waits as those in flight carry: then the
            actor finds it when its turn ends, and batches are hardly smaller (the larger they are, the less each
            command costs).
        unanswered_max: requests under way to all actors, wherever they wait; those beyond are answered ``OVERLOADED``.
    """

    deadline_s: float = 5.0
    pending_max: int = 4096
    batch_max: int = 512
    calls_max: int = 2
    unanswered_max: int = 16_384


class Gateway:
    """Implements ``allocator.ports.CommandGateway``. One for each API process."""

    def __init__(self, directory: Directory, call: CallActor, limits: GatewayLimits) -> None:
        self._directory = directory
        self._call = call
        self._limits = limits
        self._codec = WireCodec()
        self._lanes: dict[str, Lane] = {}
        # Dicts as sets that keep their order: what happens to many happens in the order in which they came.
        self._homeless: dict[OpenRequest, None] = {}
        self._tasks: dict[asyncio.Task[None], None] = {}
        self._unanswered: dict[OpenRequest, None] = {}
        self._conclusion = Conclusion(directory, self._route, self.send, self._start)
        self._loop = asyncio.get_running_loop()
        self._sweeper = self._loop.create_task(self._sweep(), name="gateway-deadlines")

    @property
    def waiting(self) -> int:
        """Requests that wait to be sent."""
        return len(self._homeless) + sum(len(lane.pending) for lane in self._lanes.values())

    # Down

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

    def _take_on(self, envelope: Envelope, tell: Tell, deadline_s: float | None) -> OpenRequest:
        deadline = self._loop.time() + (self._limits.deadline_s if deadline_s is None else deadline_s)
        section_id = envelope.command.needs.section_ids[0]
        owner = self._directory.owner(section_id)
        has_room = self._has_room(owner)
        request = OpenRequest(envelope, section_id, deadline, tell, self._unanswered)
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

    def _route(self, request: OpenRequest, owner: str | None) -> None:
        """Have it sent to ``owner``. It was taken on before, so it is not turned away however many wait there."""
        if owner is None:
            self._homeless[request] = None
            return
        lane = self._lanes.get(owner)
        if lane is None:
            lane = self._lanes[owner] = Lane(owner, self._limits.batch_max, self._limits.calls_max)
        lane.pending.append(request)
        if not lane.calls or lane.needs_another:
            self._start_drain(lane)

    def _start_drain(self, lane: Lane) -> None:
        lane.calls += 1
        self._start(self._drain(lane))

    async def _drain(self, lane: Lane) -> None:
        """One call after the other, each with all that gathered during the last."""
        try:
            while lane.pending:
                while (rest_s := lane.rests_until - self._loop.time()) > 0:
                    await asyncio.sleep(rest_s)
                batch = lane.take(self._loop.time())
                if batch:
                    await self._send(lane, batch)
                if lane.calls > 1 and not lane.is_behind:
                    break  # the others carry on
        finally:
            lane.calls -= 1

    async def _send(self, lane: Lane, batch: list[OpenRequest]) -> None:
        """One call, and what follows from its end."""
        try:
            packed = self._pack(batch)
        except Exception:  # a command that cannot be packed: a bug, but nobody may be left waiting
            log.exception("cannot pack %d commands", len(batch))
            give_up(batch, sent=False)
            return
        lane.sent(batch, self._loop.time())
        try:
            replies = self._codec.decode_replies(await self._call(lane.name, packed))
            if len(replies) != len(batch):
                raise WireError(f"{len(replies)} replies to {len(batch)} commands")
        except (ActorLostError, WireError) as error:
            log.warning("no answer from %s for %d requests: %s", lane.name, len(batch), error)
            lane.lost(self._loop.time())
            if isinstance(error, ActorAbsentError):
                self._conclusion.retry(batch)
            else:
                self._conclusion.retry_in_doubt(batch)
        except Exception:  # a bug: as above
            log.exception("a call to %s failed", lane.name)
            give_up(batch, sent=True)
        except asyncio.CancelledError:  # closing
            give_up(batch, sent=True)
            raise
        else:
            lane.losses = 0
            self._conclusion.answered(lane.name, batch, replies)
        finally:
            lane.came_back(batch)

    def _pack(self, batch: list[OpenRequest]) -> bytes:
        now = self._loop.time()
        left_s = [max(0.0, request.deadline - now) for request in batch]
        budgets_s = [max(left - ACTOR_MARGIN_S, left / 2) for left in left_s]
        return self._codec.encode_commands(
            [(request.envelope, budget_s) for request, budget_s in zip(batch, budgets_s, strict=True)]
        )

    # The directory, deadlines, the end

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

    async def _sweep(self) -> None:
        """Answer what is past its deadline, whatever its actor does. One timer for all is cheaper than one for each."""
        while True:
            await asyncio.sleep(SWEEP_INTERVAL_S)
            now = self._loop.time()
            give_up_late(self._conclusion.paused, now, sent=False)
            give_up_late(self._homeless, now, sent=False)
            if self._homeless:
                self._homeless = {request: None for request in self._homeless if not request.is_over}
            for lane in list(self._lanes.values()):
                lane.sweep(now)
                if lane.pending and lane.needs_another:
                    self._start_drain(lane)

    async def close(self) -> None:
        """Stop. What still waits is answered as unavailable or unknown."""
        tasks = [self._sweeper, *self._tasks]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        give_up(self._conclusion.paused, sent=False)
        give_up(self._homeless, sent=False)
        for lane in list(self._lanes.values()):
            give_up(lane.pending, sent=False)
        give_up(self._unanswered, sent=True)

    def _start(self, work: Coroutine[None, None, None]) -> None:
        task = self._loop.create_task(work)
        self._tasks[task] = None
        task.add_done_callback(self._finished)

    def _finished(self, task: asyncio.Task[None]) -> None:
        self._tasks.pop(task, None)
        if not task.cancelled() and task.exception() is not None:
            log.error("the gateway failed", exc_info=task.exception())
