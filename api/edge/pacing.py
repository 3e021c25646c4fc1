"""Pacing: when the edge lets requests in, and when it answers those that it refused."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Protocol

import structlog

from api.edge.shed_budget import ShedBudget

log = structlog.get_logger(__name__)

PORTION = 32
"""Requests let in at a time: who is refused when a crowd comes at one moment need not wait for all of them."""
TICK_S = 0.002


class EntryQueue:
    """Requests that were admitted and wait for their turn. A portion of them enters in each turn of the event loop."""

    def __init__(self) -> None:
        self._entering: deque[Callable[[], None]] = deque()
        self._is_letting_in = False

    def add(self, enter: Callable[[], None]) -> None:
        """Call ``enter`` soon, after those that were added before."""
        self._entering.append(enter)
        if not self._is_letting_in:
            self._is_letting_in = True
            asyncio.get_running_loop().call_soon(self._let_portion_in)

    def _let_portion_in(self) -> None:
        for _ in range(min(PORTION, len(self._entering))):
            enter = self._entering.popleft()
            try:
                enter()
            except Exception:
                log.exception("an enrolment could not be taken")
        self._is_letting_in = bool(self._entering)
        if self._is_letting_in:
            asyncio.get_running_loop().call_soon(self._let_portion_in)


class RefusedClient(Protocol):
    """A connection that waits for the answer to a refused request."""

    def answer(self, refusal: bytes) -> None:
        """Write it."""


class RefusalQueue:
    """Refusals that wait until the budget allows them.

    Args:
        budget: how many refusals may be written.
    """

    def __init__(self, budget: ShedBudget) -> None:
        self._budget = budget
        self._due: deque[tuple[RefusedClient, bytes]] = deque()
        self._timer: asyncio.TimerHandle | None = None

    def may_answer_now(self) -> bool:
        """Whether one more refusal may be written now, since the budget allows it and nobody came earlier."""
        return not self._due and self._budget.take()

    def answer_later(self, client: RefusedClient, refusal: bytes) -> None:
        """Answer when the budget allows it. Who waits here is bounded by the number of connections."""
        self._due.append((client, refusal))
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(TICK_S, self._answer_due)

    def _answer_due(self) -> None:
        while self._due and self._budget.take():
            client, refusal = self._due.popleft()
            client.answer(refusal)
        loop = asyncio.get_running_loop()
        self._timer = loop.call_later(TICK_S, self._answer_due) if self._due else None
