"""From the outcome of a command to what the client is told."""

from __future__ import annotations

from typing import assert_never

from allocator.model.outcomes import Code, Outcome
from api.http import problems
from api.http.errors import ApiError
from api.http.problems import ProblemKind
from api.monitoring.metrics import Traffic

DONE = frozenset({Code.ENROLLED, Code.WAITLISTED, Code.DROPPED, Code.CHANGED})


def require_done(outcome: Outcome, *, not_found: str) -> None:
    """Raise unless the command had its effect.

    Raises:
        ApiError: for every other outcome. A refusal has the code of its first reason, and carries all of them.
    """
    if outcome.code in DONE:
        return
    headers = {"Idempotent-Replayed": "true"} if outcome.replayed else None
    if outcome.code is Code.REFUSED:
        first = outcome.reasons[0]
        kind = ProblemKind(first.code.value, problems.REFUSED.status, problems.REFUSED.title)
        raise ApiError(kind, first.detail, reasons=outcome.reasons, headers=headers)
    detail = not_found if outcome.code is Code.NOT_FOUND else None
    raise ApiError(_problem_of(outcome.code), detail, headers=headers)


def _problem_of(code: Code) -> ProblemKind:
    match code:
        case Code.NOT_FOUND:
            return problems.NOT_FOUND
        case Code.KEY_REUSED:
            return problems.KEY_REUSED
        case Code.OVERLOADED:
            return problems.OVERLOADED
        case Code.UNAVAILABLE | Code.MOVED:  # the gateway follows moves; one that gets here changed nothing anywhere
            return problems.UNAVAILABLE
        case Code.UNKNOWN:
            return problems.OUTCOME_UNKNOWN
        case Code.ENROLLED | Code.WAITLISTED | Code.DROPPED | Code.CHANGED | Code.REFUSED:
            raise ValueError(f"{code} has no problem of its own")
        case _:
            assert_never(code)


def count_outcome(traffic: Traffic, outcome: Outcome) -> None:
    """Count the outcome of a student's command. A refusal is counted by its first reason."""
    code = outcome.reasons[0].code.value if outcome.code is Code.REFUSED else outcome.code.value
    traffic.outcomes[code] += 1
