"""The table of rules: each code once, each rule at its moments, a drop like everything else."""

from __future__ import annotations

import importlib
import inspect
import itertools
import pkgutil

import pytest

from allocator import rules
from allocator.model.catalogue import SectionFacts, Term
from allocator.model.commands import Drop
from allocator.model.delivery import Envelope
from allocator.model.outcomes import Code, Reason, ReasonCode
from allocator.model.record import RecordKey, RegistrationRecord
from allocator.model.section import HeldEnrollment, Section, SectionState
from allocator.model.waitlist import Waiting
from allocator.rules.case import Case, Moment
from allocator.rules.table import RULES, Judge, Rule
from allocator.turns.decision import Decision
from allocator.turns.inbox import Call, Entry

FACTS = SectionFacts(1, 1, "LE", 3, None, Term(1, None, None), (), (), ())
LATE = Reason(ReasonCode.REGISTRATION_CLOSED, "The last day to drop is over.")
KEPT = Reason(ReasonCode.HOLD, "There is a hold on your account: library.")


def test_every_reason_has_one_rule_but_the_one_without_a_record() -> None:
    codes = [rule.code for rule in RULES]
    assert sorted(codes) == sorted(set(ReasonCode) - {ReasonCode.NOT_REGISTERED})


def test_every_function_of_a_family_of_rules_is_in_the_table() -> None:
    written = {
        function
        for module in pkgutil.iter_modules(rules.__path__)
        if module.name not in {"case", "table"}
        for function in vars(importlib.import_module(f"allocator.rules.{module.name}")).values()
        if inspect.isfunction(function) and function.__module__.endswith(module.name)
    }
    assert {rule.check for rule in RULES} == written


@pytest.mark.parametrize("moment", Moment)
def test_a_rule_is_asked_at_its_moments_only_and_in_the_order_of_the_table(moment: Moment) -> None:
    asked: list[ReasonCode] = []

    def noting(rule: Rule) -> Rule:
        def check(_case: Case) -> list[Reason]:
            asked.append(rule.code)
            return [Reason(rule.code, "")]

        return rule._replace(check=check)

    record = RegistrationRecord(RecordKey(1, 1), 0, 0, 18, [], [])
    reasons = Judge(noting(rule) for rule in RULES).at(moment)(Case(FACTS, record, [], 0.0))
    assert asked == [rule.code for rule in RULES if moment in rule.moments]
    assert [reason.code for reason in reasons] == asked


@pytest.mark.parametrize("status", ["enrolled", "waitlisted"])
async def test_a_drop_is_refused_by_every_rule_that_is_asked_at_drops(status: str) -> None:
    late = Rule(LATE.code, Moment.DROP, can_be_waived=True, check=lambda _case: [LATE])
    kept = Rule(KEPT.code, Moment.DROP | Moment.ADD, can_be_waived=True, check=lambda _case: [KEPT])
    decision, record = _dropping(status, Judge([late, kept]))
    assert (decision.decided[0].outcome.code, decision.decided[0].outcome.reasons) == (Code.REFUSED, (LATE, KEPT))
    assert record.version == 0
    assert decision.changes().events == []


@pytest.mark.parametrize("status", ["enrolled", "waitlisted", "dropped"])
async def test_by_the_rules_of_today_whatever_is_held_may_be_given_up(status: str) -> None:
    decision, record = _dropping(status, Judge())
    assert decision.decided[0].outcome.code is Code.DROPPED
    assert (record.enrolled, record.waitlisted, record.credits) == ([], [], 0)


def _dropping(status: str, judge: Judge) -> tuple[Decision, RegistrationRecord]:
    waiting = (Waiting(1, 1, 9),) if status == "waitlisted" else ()
    section = Section(SectionState(1, 1, 1, 5, int(status == "enrolled"), True, 1, waiting))
    held = [1] if status == "enrolled" else []
    record = RegistrationRecord(RecordKey(1, 1), 0, 3 * len(held), 18, held, [one.place for one in waiting])
    decision = Decision({1: section}, {1: FACTS}.__getitem__, {record.key: record}, itertools.count(1), 0.0, judge)
    entry = Entry(Envelope(Drop(1, 1, 9), "k"), 1.0, Call(1), 0)
    decision.decide([entry], {}, {9: HeldEnrollment(9, 1, 1, status, 3)})
    return decision, record
