"""Holds on a student's account."""

from __future__ import annotations

from collections.abc import Sequence

from allocator.model.outcomes import Reason, ReasonCode
from allocator.rules.case import Case


def account_holds(case: Case) -> Sequence[Reason]:
    """Each hold on the student's account is a reason."""
    return [Reason(ReasonCode.HOLD, f"There is a hold on your account: {hold}.") for hold in case.record.holds]
