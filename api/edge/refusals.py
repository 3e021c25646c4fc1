"""Refusals: whom the edge turns away before the request is parsed, namely enrolments for which there is no room and
students who flood.

A refusal made by a handler costs a third of a decision. At ten times the load that fits, refusing would take all the
time there is; so these answers are encoded once (`refusal_answers.py`), and the connection (`connection.py`) writes
them before the request is parsed. A request at which the edge could not look is refused by the same rules in its
handler (`guard.py`).
"""

from __future__ import annotations

from collections import Counter
from itertools import cycle
from typing import NamedTuple

from api.edge.admission import Admission
from api.edge.framing import header_value
from api.edge.refusal_answers import RefusalAnswers
from api.http import problems
from api.http.problems import ProblemKind
from api.limits import Flooders

RETRY_AFTER_S = (1, 2, 3)
"""Different ones, so that those who were turned away together do not come back together."""
AUTHORIZATION = b"\r\nauthorization: "


class Refusal(NamedTuple):
    """Why a request is refused, and after how many seconds its client may come again."""

    kind: ProblemKind
    retry_after_s: int


class Refusals:
    """Says whom to refuse and with what bytes, and counts the refusals by reason.

    Args:
        admission: how many requests may be under way.
        flooders: tokens that have used up their limit.
        answers: encodes the refusals.
    """

    def __init__(self, admission: Admission, flooders: Flooders, answers: RefusalAnswers) -> None:
        self.counts: Counter[str] = Counter()
        self._admission = admission
        self._flooders = flooders
        self._answers = answers
        self._retry_after_s = cycle(RETRY_AFTER_S)
        self._of_connections = answers.make(problems.OVERLOADED, 1, closes=True)

    def of_unparsed(self, data: bytes, head: bytes) -> Refusal | None:
        """The refusal of a request; None if it may come in.

        Args:
            data: the request, as far as it is here.
            head: its head in lower case.
        """
        if self._flooders.due_at:
            refusal = self._of_flooder(header_value(data, head, AUTHORIZATION))
            if refusal is not None:
                return refusal
        return None if self._admission.has_room() else self._for_lack_of_room()

    def of_parsed(self, authorization: str | None) -> Refusal | None:
        """The same for a request that comes to its handler. With room for it, the handler looks for floods itself.

        Args:
            authorization: its Authorization header.
        """
        if self._admission.has_room():
            return None
        sent = None if authorization is None else authorization.encode("utf-8", "surrogateescape")
        return self._of_flooder(sent) or self._for_lack_of_room()

    def count(self, refusal: Refusal) -> None:
        """Count a refusal that is answered."""
        self.counts[refusal.kind.code] += 1

    def answer(self, refusal: Refusal, data: bytes, head: bytes) -> bytes:
        """The answer to a request that is refused before it is parsed. It is counted.

        Args:
            refusal: why.
            data: the request, as far as it is here.
            head: its head in lower case.
        """
        self.count(refusal)
        return self._answers.to(data, head, refusal.kind, refusal.retry_after_s)

    def of_connection(self) -> bytes:
        """The answer to the first request of a connection too many."""
        self.counts["connections"] += 1
        return self._of_connections

    def _for_lack_of_room(self) -> Refusal:
        return Refusal(problems.OVERLOADED, next(self._retry_after_s))

    def _of_flooder(self, authorization: bytes | None) -> Refusal | None:
        wait_s = None if authorization is None else self._flooders.wait_s(authorization)
        return None if wait_s is None else Refusal(problems.RATE_LIMITED, int(wait_s) + 1)
