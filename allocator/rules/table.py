"""The table of all rules, in the order in which their reasons are given."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import NamedTuple

from allocator.model.outcomes import Reason, ReasonCode
from allocator.rules import credit_limit, duplicates, holds, requisites, schedule, seats, window
from allocator.rules.case import Case, Check, Moment


class Rule(NamedTuple):
    """One rule: the code of its reasons, when it is asked, whether a permission can waive it, and its function."""

    code: ReasonCode
    moments: Moment
    can_be_waived: bool
    check: Check


_NEWCOMER = Moment.ADD | Moment.WAIT | Moment.SWAP
_SEAT = _NEWCOMER | Moment.PROMOTE

RULES = (
    Rule(ReasonCode.REGISTRATION_CLOSED, _NEWCOMER, True, window.closed_window),
    Rule(ReasonCode.ALREADY_WAITLISTED, _NEWCOMER, False, duplicates.same_waitlist),
    Rule(ReasonCode.ALREADY_ENROLLED, _SEAT, False, duplicates.same_component),
    Rule(ReasonCode.HOLD, _SEAT, True, holds.account_holds),
    Rule(ReasonCode.PREREQUISITE_MISSING, _SEAT, True, requisites.missing_prerequisites),
    Rule(ReasonCode.COREQUISITE_MISSING, _SEAT, True, requisites.missing_corequisites),
    Rule(ReasonCode.SCHEDULE_CONFLICT, _SEAT, True, schedule.overlapping_meetings),
    Rule(ReasonCode.CREDIT_LIMIT, _SEAT, True, credit_limit.too_many_credits),
    Rule(ReasonCode.SECTION_CLOSED, _NEWCOMER, True, seats.closed_section),
    Rule(ReasonCode.SECTION_FULL, Moment.WAIT, True, seats.no_seat),
    Rule(ReasonCode.WAITLIST_FULL, Moment.WAIT, True, seats.full_waitlist),
)
"""``NOT_REGISTERED`` is no rule: without a registration record there is nothing that a rule could look at.

No rule is asked at ``DROP`` yet: whatever a student holds, they may give up.
"""


class Judge:
    """Asks the rules of a table, each at its moments.

    Args:
        rules: in the order in which their reasons are to be given.
    """

    def __init__(self, rules: Iterable[Rule] = RULES) -> None:
        rules = tuple(rules)
        self._at = {moment: _asking(rule.check for rule in rules if moment in rule.moments) for moment in Moment}

    def at(self, moment: Moment) -> Callable[[Case], list[Reason]]:
        """What asks the rules of this moment: it gives every reason against a case, not only the first."""
        return self._at[moment]


def _asking(checks: Iterable[Check]) -> Callable[[Case], list[Reason]]:
    checks = tuple(checks)

    def reasons_against(case: Case) -> list[Reason]:
        reasons: list[Reason] = []
        for check in checks:
            found = check(case)
            if found:
                reasons += found
        return reasons

    return reasons_against
