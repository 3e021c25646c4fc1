"""Refusals: whom the edge turns away before the request is parsed, namely enrolments for which there is no room and
students who flood.

A refusal made by a handler costs a third of a decision. At ten times the load that fits, refusing would take all the
time there is; so these answers are encoded once (`refusal_answers.py`), and the connection (`connection.py`) writes
them before the request is parsed.
"""

from __future__ import annotations

from collections import Counter
from itertools import cycle

from api.edge.admission import Admission
from api.edge.framing import header_value
from api.edge.refusal_answers import RefusalAnswers
from api.http import problems
from api.limits import Flooders

RETRY_AFTER_S = (1, 2, 3)
"""Different ones, so that those who were turned away together do not come back together."""
AUTHORIZATION = b"\r\nauthorization: "


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

    def of_request(self, data: bytes, head: bytes) -> bytes | None:
        """The answer to a request that is refused; None if it may come in.

        Args:
            data: the request, as far as it is here.
            head: its head in lower case.
        """
        if self._flooders.due_at:
            refusal = self._of_flooder(data, head)
            if refusal is not None:
                return refusal
        if self._admission.has_room():
            return None
        self.counts["overloaded"] += 1
        return self._answers.to(data, head, problems.OVERLOADED, next(self._retry_after_s))

    def of_connection(self) -> bytes:
        """The answer to the first request of a connection too many."""
        self.counts["connections"] += 1
        return self._of_connections

    def _of_flooder(self, data: bytes, head: bytes) -> bytes | None:
        authorization = header_value(data, head, AUTHORIZATION)
        wait_s = None if authorization is None else self._flooders.wait_s(authorization)
        if wait_s is None:
            return None
        self.counts["rate_limited"] += 1
        return self._answers.to(data, head, problems.RATE_LIMITED, int(wait_s) + 1)
