"""The section itself: whether it takes anybody, and whether there is room."""

from __future__ import annotations

from collections.abc import Sequence

from allocator.model.outcomes import Reason, ReasonCode
from allocator.rules.case import Case


def closed_section(case: Case) -> Sequence[Reason]:
    """A section that staff closed takes nobody."""
    if case.is_open:
        return ()
    return [Reason(ReasonCode.SECTION_CLOSED, "This section takes no more students.")]


def no_seat(case: Case) -> Sequence[Reason]:
    """Without a free seat a student must accept a place on the waitlist."""
    if case.joins_waitlist:
        return ()
    return [Reason(ReasonCode.SECTION_FULL, "No seat is free.")]


def full_waitlist(case: Case) -> Sequence[Reason]:
    """A waitlist may be limited."""
    limit = case.facts.waitlist_limit
    if not case.joins_waitlist or limit is None or case.waiting < limit:
        return ()
    return [Reason(ReasonCode.WAITLIST_FULL, "No seat is free and the waitlist is full.")]
