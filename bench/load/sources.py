"""Sources of requests for a load generator: each sent once, over and over, or again until it is decided."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol

from bench.load.measured import outcome_of

TRANSIENT = frozenset({0, 429, 503})
"""Statuses after which a request may be sent again; 0 is a lost connection."""


class Source(Protocol):
    """A source of requests. What it gives may depend on earlier answers."""

    @property
    def exhausted(self) -> bool:
        """Whether it will give no more requests, whatever is answered."""

    def take(self) -> tuple[int, bytes] | None:
        """The next request, with a number for its answer; None if there is none now."""

    def answered(self, number: int, status: int, body: bytes) -> None:
        """Called with the answer to a request; status 0 if the connection was lost before."""


class PreparedRequests:
    """A source of prepared requests, each given once, in order."""

    def __init__(self, requests: Sequence[bytes]) -> None:
        self._requests = requests
        self._next = 0

    @property
    def exhausted(self) -> bool:
        """See ``Source``."""
        return self._next == len(self._requests)

    def take(self) -> tuple[int, bytes] | None:
        """See ``Source``."""
        number = self._next
        if number == len(self._requests):
            return None
        self._next = number + 1
        return number, self._requests[number]

    def answered(self, number: int, status: int, body: bytes) -> None:
        """See ``Source``."""


class RepeatedRequests:
    """A source that gives the same requests over and over: reads, or requests to a server that does not decide them."""

    exhausted = False

    def __init__(self, requests: Sequence[bytes]) -> None:
        self._requests = requests
        self._next = 0

    def take(self) -> tuple[int, bytes] | None:
        """See ``Source``."""
        number = self._next % len(self._requests)
        self._next += 1
        return number, self._requests[number]

    def answered(self, number: int, status: int, body: bytes) -> None:
        """See ``Source``."""


@dataclass(slots=True)
class RetriedRequests:
    """A source that gives a request again until it has a final answer, and counts the final answers.

    Args:
        waiting: the requests, each with its number.
        outcomes: final answers by code.
        retries: how often a request was given again.
    """

    waiting: deque[tuple[int, bytes]]
    outcomes: Counter[str] = field(default_factory=Counter)
    retries: int = 0
    _under_way: dict[int, bytes] = field(default_factory=dict)

    @property
    def exhausted(self) -> bool:
        """See ``Source``."""
        return not self.waiting and not self._under_way

    def take(self) -> tuple[int, bytes] | None:
        """See ``Source``."""
        if not self.waiting:
            return None
        number, request = self.waiting.popleft()
        self._under_way[number] = request
        return number, request

    def answered(self, number: int, status: int, body: bytes) -> None:
        """See ``Source``."""
        request = self._under_way.pop(number)
        if status in TRANSIENT:
            self.retries += 1
            self.waiting.append((number, request))
        else:
            self.outcomes[outcome_of(status, body)] += 1
