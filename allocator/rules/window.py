"""When students may register: the semester's window, and their own."""

from __future__ import annotations

from collections.abc import Sequence

from allocator.model.outcomes import Reason, ReasonCode
from allocator.rules.case import Case


def closed_window(case: Case) -> Sequence[Reason]:
    """The semester's window and the student's own must both be open."""
    term, record, now = case.facts.term, case.record, case.now
    opens_at = max(term.opens_at or 0.0, record.opens_at or 0.0)
    if now < opens_at:
        return [Reason(ReasonCode.REGISTRATION_CLOSED, "Your registration has not opened yet.")]
    for closes_at in (term.closes_at, record.closes_at):
        if closes_at is not None and now >= closes_at:
            return [Reason(ReasonCode.REGISTRATION_CLOSED, "Your registration has ended.")]
    return ()
