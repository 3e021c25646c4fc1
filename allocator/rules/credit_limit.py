"""How much a student may take in one semester."""

from __future__ import annotations

from collections.abc import Sequence

from allocator.model.outcomes import Reason, ReasonCode
from allocator.rules.case import Case


def too_many_credits(case: Case) -> Sequence[Reason]:
    """The credits held and those asked for must stay within the limit."""
    record = case.record
    total = record.credits + case.facts.credits
    if total <= record.credit_limit:
        return ()
    return [Reason(ReasonCode.CREDIT_LIMIT, f"It would make {total} credits; your limit is {record.credit_limit}.")]
