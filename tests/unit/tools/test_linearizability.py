"""The linearizability checker: it accepts possible histories and refuses impossible ones."""

from __future__ import annotations

import itertools
import random

from hypothesis import given, settings
from hypothesis import strategies as st

from allocator.model.commands import ChangeCapacity, CloseSection, Command, Drop, Enroll, OpenSection
from allocator.model.outcomes import Code, Outcome, Reason, ReasonCode, refused
from tests.linearizability.checker import Answer, check_section
from tests.linearizability.history import Operation, Recorder
from tests.linearizability.model import Seats

SECTION = 1


def enroll(student: int, *, join_waitlist: bool = True) -> Enroll:
    return Enroll(SECTION, student, join_waitlist)


def seat(student: int) -> Outcome:
    return Outcome(Code.ENROLLED, SECTION, student * 10)


def place(student: int, number: int) -> Outcome:
    return Outcome(Code.WAITLISTED, SECTION, student * 10, number, number)


def drop(student: int) -> Drop:
    return Drop(SECTION, student, student * 10)


DROPPED = Outcome(Code.DROPPED, SECTION)
FULL = refused(SECTION, Reason(ReasonCode.SECTION_FULL, "full"))


Step = tuple[Command, Outcome]


def one_after_the_other(*steps: Step) -> list[Operation]:
    recorder = Recorder()
    for command, outcome in steps:
        recorder.ok(recorder.invoke("client", command), outcome)
    return recorder.by_section()[SECTION]


def all_at_once(*steps: tuple[Command, Outcome | None]) -> list[Operation]:
    recorder = Recorder()
    calls = [recorder.invoke(f"client {n}", command) for n, (command, _) in enumerate(steps)]
    for call, (_, outcome) in zip(calls, steps, strict=True):
        if outcome is None:
            recorder.unknown(call)
        else:
            recorder.ok(call, outcome)
    return recorder.by_section()[SECTION]


def is_legal(operations: list[Operation], capacity: int, final: Seats | None = None, *, is_strict: bool = True) -> bool:
    verdict = check_section(operations, Seats(capacity), final, is_strict=is_strict)
    assert verdict.answer is not Answer.UNDECIDED
    return verdict.holds


def test_two_students_on_one_seat_are_refused_whatever_the_order() -> None:
    assert not is_legal(all_at_once((enroll(1), seat(1)), (enroll(2), seat(2))), capacity=1)
    assert not is_legal(all_at_once((enroll(1), seat(1)), (enroll(2), seat(2))), capacity=1, is_strict=False)


def test_of_two_at_once_either_may_have_been_first() -> None:
    assert is_legal(all_at_once((enroll(1), place(1, 1)), (enroll(2), seat(2))), capacity=1)


def test_who_was_answered_before_another_asked_was_first() -> None:
    assert not is_legal(one_after_the_other((enroll(1), place(1, 1)), (enroll(2), seat(2))), capacity=1)


def test_a_newcomer_may_not_take_the_seat_that_the_waitlist_is_owed() -> None:
    steps: list[Step] = [(enroll(1), seat(1)), (enroll(2), place(2, 1)), (drop(1), DROPPED)]
    assert not is_legal(one_after_the_other(*steps, (enroll(3), seat(3))), capacity=1)
    assert is_legal(one_after_the_other(*steps, (enroll(3), seat(3))), capacity=1, is_strict=False)
    assert is_legal(one_after_the_other(*steps, (enroll(3), place(3, 2))), capacity=1)


def test_places_only_rise() -> None:
    assert not is_legal(
        one_after_the_other((enroll(1), seat(1)), (enroll(2), place(2, 2)), (enroll(3), place(3, 2))), capacity=1
    )


def test_full_is_said_only_when_it_is() -> None:
    assert not is_legal(one_after_the_other((enroll(1, join_waitlist=False), FULL)), capacity=1)
    assert is_legal(one_after_the_other((enroll(1), seat(1)), (enroll(2, join_waitlist=False), FULL)), capacity=1)


def test_closed_is_said_only_when_it_is() -> None:
    closed = refused(SECTION, Reason(ReasonCode.SECTION_CLOSED, "closed"))
    changed = Outcome(Code.CHANGED, SECTION)
    assert is_legal(one_after_the_other((CloseSection(SECTION, 1), changed), (enroll(1), closed)), capacity=1)
    assert not is_legal(one_after_the_other((enroll(1), closed)), capacity=1)


def test_an_unknown_request_may_have_taken_the_seat_or_not() -> None:
    unknown_first = all_at_once((enroll(1), None), (enroll(2), place(2, 1)))
    assert is_legal(unknown_first, capacity=1)
    assert is_legal(unknown_first, capacity=1, final=Seats(1, True, frozenset({(1, 10)}), ((2, 20),)))
    assert not is_legal(unknown_first, capacity=1, final=Seats(1, True, frozenset({(2, 20)})))
    assert is_legal(all_at_once((enroll(1), None), (enroll(2), seat(2))), capacity=1)


def test_a_request_that_had_no_effect_must_have_had_none() -> None:
    recorder = Recorder()
    recorder.failed(recorder.invoke("client", enroll(1)))
    recorder.ok(recorder.invoke("client", enroll(2)), place(2, 1))
    assert not is_legal(recorder.by_section()[SECTION], capacity=1)


def test_what_was_acknowledged_must_be_there_at_the_end() -> None:
    operations = one_after_the_other((enroll(1), seat(1)))
    assert is_legal(operations, 2, Seats(2, True, frozenset({(1, 10)})))
    assert not is_legal(operations, 2, Seats(2))
    assert not is_legal(operations, 2, Seats(2, True, frozenset({(1, 11)})))
    assert not is_legal(operations, 2, Seats(2, True, frozenset({(1, 10), (2, 20)})))


def test_a_drop_frees_the_seat_and_a_second_one_changes_nothing() -> None:
    steps: list[Step] = [(enroll(1), seat(1)), (drop(1), DROPPED), (drop(1), DROPPED), (enroll(2), seat(2))]
    assert is_legal(one_after_the_other(*steps), capacity=1)


def test_a_promotion_may_come_late_but_not_after_a_cut_took_the_seat() -> None:
    cut: Step = (ChangeCapacity(SECTION, 0, 1), Outcome(Code.CHANGED, SECTION))
    steps: list[Step] = [(enroll(1), seat(1)), (enroll(2), place(2, 1)), (drop(1), DROPPED), cut]
    still_waiting = Seats(0, True, frozenset(), ((2, 20),))
    promoted_before = Seats(0, True, frozenset({(2, 20)}))
    assert is_legal(one_after_the_other(*steps), 1, still_waiting)
    assert is_legal(one_after_the_other(*steps), 1, promoted_before)
    cut_first = [steps[0], steps[1], cut, steps[2]]
    assert not is_legal(one_after_the_other(*cut_first), 1, promoted_before)


def test_an_unknown_change_may_come_late_and_undo_another() -> None:
    recorder = Recorder()
    changed = Outcome(Code.CHANGED, SECTION)
    recorder.unknown(recorder.invoke("registrar", ChangeCapacity(SECTION, 1, 1)))
    recorder.ok(recorder.invoke("registrar", ChangeCapacity(SECTION, 0, 1)), changed)
    recorder.ok(recorder.invoke("student", enroll(1)), seat(1))
    assert is_legal(recorder.by_section()[SECTION], capacity=1)


def test_of_two_closings_at_once_one_may_come_after_the_opening() -> None:
    recorder = Recorder()
    changed = Outcome(Code.CHANGED, SECTION)
    late = recorder.invoke("registrar", CloseSection(SECTION, 1))
    recorder.ok(recorder.invoke("registrar", CloseSection(SECTION, 2)), changed)
    recorder.ok(recorder.invoke("registrar", OpenSection(SECTION, 1)), changed)
    recorder.ok(late, changed)
    closed = refused(SECTION, Reason(ReasonCode.SECTION_CLOSED, "closed"))
    recorder.ok(recorder.invoke("student", enroll(1)), closed)
    assert is_legal(recorder.by_section()[SECTION], capacity=1)


def test_the_explanation_names_what_does_not_fit() -> None:
    verdict = check_section(all_at_once((enroll(1), seat(1)), (enroll(2), seat(2))), Seats(1), is_strict=True)
    assert "1 of 2 operations" in verdict.explain()
    assert "student_id=2" in verdict.explain() or "student_id=1" in verdict.explain()


@given(seed=st.integers(0, 2**32), capacity=st.integers(0, 4))
@settings(max_examples=50, deadline=None)
def test_a_real_section_seen_by_clients_at_once_is_accepted(seed: int, capacity: int) -> None:
    """Operations that happen one by one inside overlapping spans are linearizable by construction."""
    chance = random.Random(seed)
    recorder = Recorder()
    section = _RightSection(capacity)
    students = itertools.count(1)
    told: list[int] = []
    waiting: list[tuple[int, Command]] = []
    for _ in range(40):
        if len(waiting) == 5 or (waiting and chance.random() < 0.5):
            call, command = waiting.pop(chance.randrange(len(waiting)))
            outcome = section.do(command)
            if chance.random() < 0.1:
                recorder.unknown(call)
                continue
            recorder.ok(call, outcome)
            if isinstance(command, Enroll):
                told.append(command.student_id)
        else:
            leaving = bool(told) and chance.random() < 0.4
            command = drop(told.pop(chance.randrange(len(told)))) if leaving else enroll(next(students))
            waiting.append((recorder.invoke("client", command), command))
    assert is_legal(recorder.by_section()[SECTION], capacity, section.final())


class _RightSection:
    def __init__(self, capacity: int) -> None:
        self.capacity = capacity
        self.seated: list[int] = []
        self.line: list[int] = []
        self.places = 0

    def final(self) -> Seats:
        seated = frozenset((one, one * 10) for one in self.seated)
        return Seats(self.capacity, True, seated, tuple((one, one * 10) for one in self.line))

    def do(self, command: Command) -> Outcome:
        assert isinstance(command, Enroll | Drop)
        student = command.student_id
        if isinstance(command, Drop):
            self.seated = [one for one in self.seated if one != student]
            self.line = [one for one in self.line if one != student]
            while self.line and len(self.seated) < self.capacity:
                self.seated.append(self.line.pop(0))
            return DROPPED
        if len(self.seated) < self.capacity:
            self.seated.append(student)
            return seat(student)
        self.line.append(student)
        self.places += 1
        return place(student, self.places)
