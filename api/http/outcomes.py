"""From the reply to a command to what the client is told."""

from __future__ import annotations

from typing import assert_never

from allocator.model.delivery import Reply, Undecided
from allocator.model.outcomes import Code, Outcome
from api.http import problems
from api.http.errors import ApiError
from api.http.problems import ProblemKind
from api.monitoring.metrics import Traffic

_UNDECIDED: dict[Undecided, ProblemKind] = {
    Undecided.OVERLOADED: problems.OVERLOADED,
    Undecided.UNAVAILABLE: problems.UNAVAILABLE,
    Undecided.UNKNOWN: problems.OUTCOME_UNKNOWN,
    Undecided.MOVED: problems.UNAVAILABLE,  # the gateway follows moves; one that gets here changed nothing anywhere
}


def require_done(reply: Reply, *, not_found: str) -> Outcome:
    """The outcome of a command that did something.

    Raises:
        ApiError: for every other reply; a refusal goes by its first reason and carries all.
    """
    outcome = reply.outcome
    if outcome is None:
        raise ApiError(problems.UNAVAILABLE if reply.undecided is None else _UNDECIDED[reply.undecided])
    headers = replay_header(reply)
    match outcome.code:
        case Code.ENROLLED | Code.WAITLISTED | Code.DROPPED | Code.CHANGED:
            return outcome
        case Code.REFUSED:
            first = outcome.reasons[0]
            kind = ProblemKind(first.code.value, problems.REFUSED.status, problems.REFUSED.title)
            raise ApiError(kind, first.detail, reasons=outcome.reasons, headers=headers)
        case Code.NOT_FOUND:
            raise ApiError(problems.NOT_FOUND, not_found, headers=headers)
        case Code.KEY_REUSED:
            raise ApiError(problems.KEY_REUSED, headers=headers)
        case _:
            assert_never(outcome.code)


def replay_header(reply: Reply) -> dict[str, str]:
    """Says so if this is the stored answer of an earlier try."""
    return {"Idempotent-Replayed": "true"} if reply.replayed else {}


def count_reply(traffic: Traffic, reply: Reply) -> None:
    """Count the reply to a student's command, a refusal by its first reason."""
    outcome = reply.outcome
    is_refused = outcome is not None and outcome.code is Code.REFUSED
    code = outcome.reasons[0].code if outcome is not None and is_refused else reply.code
    traffic.outcomes[code.value] += 1
