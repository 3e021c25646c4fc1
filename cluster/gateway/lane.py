"""All that waits for one actor, and the calls in flight to it."""

from __future__ import annotations

from collections import deque

from cluster.gateway.open_request import OpenRequest, give_up_late

SLOW_CALL_S = 0.1
"""A call that takes longer does not keep others waiting: another leaves beside it."""
REST_S = 0.05
REST_MAX_S = 0.2
"""Longest pause between two tries of an actor that does not answer, however many requests wait for it."""


class Lane:
    """The way to one actor.

    Where something is pending, at least one call is in flight or about to be. ``losses`` are calls in a row without an
    answer, ``is_slow`` says whether a call took long at the last sweep.

    Args:
        name: the actor's.
        batch_max: commands in one call.
        calls_max: calls in flight.
    """

    __slots__ = (
        "batch_max",
        "calls",
        "calls_max",
        "in_flight",
        "is_slow",
        "losses",
        "name",
        "pending",
        "rests_until",
        "sent_at",
    )

    def __init__(self, name: str, batch_max: int, calls_max: int) -> None:
        self.name = name
        self.batch_max = batch_max
        self.calls_max = calls_max
        self.pending: deque[OpenRequest] = deque()
        self.in_flight: dict[OpenRequest, None] = {}
        self.calls = 0
        self.losses = 0
        self.rests_until = 0.0
        self.sent_at: dict[int, float] = {}  # of the calls in flight
        self.is_slow = False

    @property
    def is_idle(self) -> bool:
        """Whether nothing waits and nothing is in flight."""
        return not (self.pending or self.in_flight or self.calls)

    @property
    def needs_another(self) -> bool:
        """Whether a call should leave beside those in flight."""
        return self.calls < self.calls_max and self.is_behind

    @property
    def is_behind(self) -> bool:
        """Whether as much waits as is in flight, or the calls in flight take long."""
        if self.is_slow:
            return True
        under_way = len(self.in_flight)  # none while the first call is about to be sent: it takes all that waits
        return 0 < min(under_way, self.batch_max) <= len(self.pending)

    def take(self, now: float) -> list[OpenRequest]:
        """The next batch from the head. Those past their deadline are answered instead."""
        batch: list[OpenRequest] = []
        while self.pending and len(batch) < self.batch_max:
            request = self.pending.popleft()
            if request.is_over:
                continue
            if request.deadline <= now:
                request.give_up(sent=False)
                continue
            batch.append(request)
        return batch

    def sent(self, batch: list[OpenRequest], now: float) -> None:
        """A call with ``batch`` leaves."""
        self.in_flight.update(dict.fromkeys(batch))
        self.sent_at[id(batch)] = now

    def came_back(self, batch: list[OpenRequest]) -> None:
        """The call with ``batch`` is over, however it ended."""
        del self.sent_at[id(batch)]
        for request in batch:
            self.in_flight.pop(request, None)

    def lost(self, now: float) -> None:
        """A call got no answer: rest, longer after each further one.

        This is the retry budget of an actor: while it does not answer, a few calls a second, whoever asks how often.
        """
        self.losses += 1
        self.rests_until = now + min(REST_S * 2.0 ** min(self.losses - 1, 8), REST_MAX_S)

    def sweep(self, now: float) -> None:
        """Answer what is past its deadline, and see whether calls take long."""
        give_up_late(self.in_flight, now, sent=True)
        give_up_late(self.pending, now, sent=False)
        self.is_slow = any(now - sent_at > SLOW_CALL_S for sent_at in self.sent_at.values())
