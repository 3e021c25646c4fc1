"""From what a command came to, to what the client is told."""

from __future__ import annotations

from allocator.model.outcomes import Code, Outcome
from api.http import problems
from api.http.errors import ApiError
from api.http.problems import ProblemKind
from api.monitoring.metrics import Traffic

DONE = frozenset({Code.ENROLLED, Code.WAITLISTED, Code.DROPPED, Code.CHANGED})

_PROBLEMS: dict[Code, ProblemKind] = {
    Code.NOT_FOUND: problems.NOT_FOUND,
    Code.KEY_REUSED: problems.KEY_REUSED,
    Code.OVERLOADED: problems.OVERLOADED,
    Code.UNAVAILABLE: problems.UNAVAILABLE,
    Code.UNKNOWN: problems.OUTCOME_UNKNOWN,
    Code.MOVED: problems.UNAVAILABLE,  # the gateway follows moves; one that gets here changed nothing anywhere
}


def require_done(outcome: Outcome, *, not_found: str) -> None:
    """Let an outcome that did something pass.

    Raises:
        ApiError: for every other; a refusal goes by its first reason and carries all.
    """
    if outcome.code in DONE:
        return
    headers = {"Idempotent-Replayed": "true"} if outcome.replayed else None
    if outcome.code is Code.REFUSED:
        first = outcome.reasons[0]
        kind = ProblemKind(first.code.value, problems.REFUSED.status, problems.REFUSED.title)
        raise ApiError(kind, first.detail, reasons=outcome.reasons, headers=headers)
    detail = not_found if outcome.code is Code.NOT_FOUND else None
    raise ApiError(_PROBLEMS[outcome.code], detail, headers=headers)


def count_outcome(traffic: Traffic, outcome: Outcome) -> None:
    """Count the outcome of a student's command, a refusal by its first reason."""
    code = outcome.reasons[0].code.value if outcome.code is Code.REFUSED else outcome.code.value
    traffic.outcomes[code] += 1
