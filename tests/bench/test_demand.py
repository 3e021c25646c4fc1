"""Demand: all requests can be granted, for every distribution over sections."""

from __future__ import annotations

from collections import Counter

import pytest

from bench.demand.bench_term import meetings_of
from bench.demand.draw import SLOTS, Demand, pairs_of, slot_of
from bench.demand.rush import SECTIONS, RecordedRequests, Rush
from bench.demand.workloads import CHURN_SEATS, WORKLOADS, Churn, DemandPlan
from bench.peers.registry import RAY_SECTIONS

NAMES = ["uniform", "zipf_0.99", "zipf_1.5", "zipf_2.0", "hot", "mixed"]


def make_plan() -> DemandPlan:
    return DemandPlan(
        [WORKLOADS[name] for name in NAMES], rounds=3, per_round=900, sections=100, few=RAY_SECTIONS, seed=3
    )


def test_slots_do_not_meet_at_one_time() -> None:
    times = [(one.weekday, one.start_minute) for slot in range(SLOTS) for one in meetings_of(slot)]
    assert len(times) == len(set(times))


def test_nobody_asks_twice_in_a_slot_in_a_whole_run() -> None:
    plan = make_plan()
    rounds = [*plan.few_asks.values(), *plan.many_asks.values()]
    asked = [(pair.student, slot_of(pair.section)) for asks in rounds for pair in pairs_of(asks, plan.students)]
    assert len(asked) == len(set(asked)) > 3_000
    assert max(student for student, _ in asked) < plan.students


def test_one_students_requests_lie_apart() -> None:
    demand = Demand(1)
    asks = demand.draw(range(100), 4_000)
    students = [pair.student for pair in pairs_of(asks, demand.students)]
    for at in range(0, len(students) - 64, 97):
        assert len(set(students[at : at + 64])) == 64


def test_every_request_has_a_seat_and_the_small_sections_are_small() -> None:
    plan = make_plan()
    seats = plan.capacities()
    rounds = [*plan.many_asks.values(), *plan.few_asks.values()]
    wanted = Counter(ask.section for asks in rounds for ask in asks)
    assert all(wanted[section] <= seats[section] for section in wanted)
    assert [seats[section] for section in plan.churn_sections] == [CHURN_SEATS] * len(plan.churn_sections)


def test_skew_is_what_it_is_said_to_be() -> None:
    counts = Counter(ask.section for ask in Demand(1).draw(range(1_000), 50_000, 2.0))
    (_, first), (_, second) = counts.most_common(2)
    assert first / 50_000 == pytest.approx(0.608, abs=0.02)  # 1 / zeta(2)
    assert first / second == pytest.approx(4.0, rel=0.1)


def test_a_hot_round_has_one_section_and_each_round_another() -> None:
    plan = make_plan()
    hot = [{ask.section for ask in plan.many_asks["hot", turn]} for turn in range(3)]
    assert [len(one) for one in hot] == [1, 1, 1]
    assert len(set.union(*hot)) == 3


def test_the_same_seed_draws_the_same() -> None:
    assert make_plan().many_asks == make_plan().many_asks


def test_churn_drops_what_it_holds_and_adds_again() -> None:
    churn = Churn([("token", 7)])
    taken = churn.take()
    assert taken is not None
    student, first = taken
    assert first.startswith(b"POST ")
    assert churn.take() is None
    churn.answered(student, 201, b'{"id":42,"status":"waitlisted"}')
    taken = churn.take()
    assert taken is not None
    assert taken[1].startswith(b"DELETE /api/enrollments/42 ")
    churn.answered(student, 200, b"{}")
    taken = churn.take()
    assert taken is not None
    assert taken[1].startswith(b"POST ")
    assert first != taken[1]


def test_a_rush_has_sections_of_its_own_in_each_round() -> None:
    rush = Rush(500, 3, 1)
    assert len(rush.capacities()) == 3 * SECTIONS
    assert [min(rush.wanted(turn)) // SECTIONS for turn in range(3)] == [0, 1, 2]
    assert [max(rush.wanted(turn)) // SECTIONS for turn in range(3)] == [0, 1, 2]


@pytest.mark.parametrize(("seated", "share"), [("110", 0.0), ("011", 1.0), ("101", 0.5)])
def test_fairness_counts_whom_a_later_one_passed(seated: str, share: float) -> None:
    rush = RecordedRequests([b"request"] * 3, [5, 5, 5])
    for number in (2, 0, 1):  # the order of the answers does not count
        body = b'{"status":"enrolled"}' if seated[number] == "1" else b'{"status":"waitlisted"}'
        rush.answered(number, 201, body)
    assert rush.fairness() == {"pairs": 2, "later_got_the_seat": share}
