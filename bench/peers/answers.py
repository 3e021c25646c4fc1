"""From a reply to the bytes that Seatline would send."""

from __future__ import annotations

from typing import NamedTuple, cast

import msgspec

from allocator.model.delivery import Reply
from allocator.model.outcomes import Code, Outcome
from api.http import problems
from api.http.problems import ProblemKind
from api.schemas.enrollments import EnrolledReply
from api.schemas.problem import ProblemReply, ReasonReply

_encode = msgspec.json.Encoder().encode

JSON = "application/json"
PROBLEM_JSON = "application/problem+json"


class PeerAnswer(NamedTuple):
    """One HTTP answer."""

    status: int
    content_type: str
    body: bytes


def answer_of(reply: Reply) -> PeerAnswer:
    """What the client is told of an enrolment. Peers leave one undecided only where they are overloaded."""
    outcome = reply.outcome
    if outcome is None:
        return problem(problems.OVERLOADED)
    if outcome.code in {Code.ENROLLED, Code.WAITLISTED}:
        return PeerAnswer(201, JSON, _encode(EnrolledReply.of(outcome, cast(int, outcome.enrollment_id))))
    if outcome.code is Code.REFUSED:
        first = outcome.reasons[0]
        return problem(ProblemKind(first.code.value, 409, problems.REFUSED.title), outcome)
    if outcome.code is Code.KEY_REUSED:
        return problem(problems.KEY_REUSED)
    if outcome.code is Code.NOT_FOUND:
        return problem(problems.NOT_FOUND)
    raise ValueError(f"{outcome.code} is no answer to an enrolment")


def problem(kind: ProblemKind, outcome: Outcome | None = None) -> PeerAnswer:
    """An error, as problem+json."""
    reasons = [ReasonReply.of(one) for one in outcome.reasons] if outcome is not None else []
    reply = ProblemReply(
        type=f"urn:seatline:problem:{kind.code}",
        title=kind.title,
        status=kind.status,
        code=kind.code,
        detail=kind.title,
        request_id="",
        reasons=reasons or msgspec.UNSET,
    )
    return PeerAnswer(kind.status, PROBLEM_JSON, _encode(reply))
