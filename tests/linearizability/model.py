"""The sequential model of a section: a few lines that are easy to check, to compare the product with."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple, assert_never

from allocator.model.commands import ChangeCapacity, CloseSection, Command, Drop, Enroll, OpenSection, RecheckHead
from allocator.model.outcomes import Code, Outcome, ReasonCode

Member = tuple[int, int | None]
"""Student and enrolment; the enrolment is None where its request got no answer."""


class Seats(NamedTuple):
    """A section: who sits, who waits in which order, and the last place that was given."""

    capacity: int
    is_open: bool = True
    seated: frozenset[Member] = frozenset()
    waiting: tuple[Member, ...] = ()
    last_place: int = 0


class SectionModel:
    """The sequential specification of a section.

    Args:
        is_strict: nothing but seats keeps a student out, so a free seat is for the first in line and nobody else.
            Otherwise a waiting student may be kept from a seat by what they hold elsewhere, which cannot be seen from
            here: the model then leaves open who of the waiting has been promoted.
    """

    def __init__(self, *, is_strict: bool) -> None:
        self._is_strict = is_strict

    def after(self, seats: Seats, command: Command, outcome: Outcome | None) -> Iterator[Seats]:
        """What the section may be after ``command`` was answered with ``outcome``; nothing if it cannot have been.

        With no outcome: what it may be if the command took effect.
        """
        match command:
            case Enroll():
                following = self._after_enroll(seats, command, outcome)
            case Drop():
                following = self._after_drop(seats, command, outcome)
            case ChangeCapacity():
                following = iter([seats._replace(capacity=command.capacity)])
            case OpenSection() | CloseSection():
                following = iter([seats._replace(is_open=isinstance(command, OpenSection))])
            case RecheckHead():
                following = iter([seats])
            case _:
                assert_never(command)
        for seats_now in following:
            yield from self._promoted(seats_now)

    def may_end_as(self, seats: Seats, final: Seats) -> bool:
        """Whether what the tables say at the end is what ``seats`` has come to."""
        if seats.capacity != final.capacity or seats.is_open != final.is_open:
            return False
        if self._is_strict:
            return _same(seats.seated, final.seated) and _same_order(seats.waiting, final.waiting)
        all_final = final.seated.union(final.waiting)
        never_moved = [one for one in seats.waiting if _member(final.waiting, one[0]) is not None]
        return (
            _same(seats.seated.union(seats.waiting), all_final)
            and all(_member(final.seated, student) is not None for student, _ in seats.seated)
            and _same_order(tuple(never_moved), final.waiting)
        )

    def _promoted(self, seats: Seats) -> Iterator[Seats]:
        """A free seat goes to the first in line, now or before whatever comes next: most likely now."""
        if self._is_strict and seats.waiting and seats.is_open and len(seats.seated) < seats.capacity:
            head, *rest = seats.waiting
            yield from self._promoted(seats._replace(seated=seats.seated | {head}, waiting=tuple(rest)))
        yield seats

    def _after_enroll(self, seats: Seats, command: Enroll, outcome: Outcome | None) -> Iterator[Seats]:
        if outcome is None:
            yield from self._after_unknown_enroll(seats, command)
        elif outcome.code is Code.REFUSED:
            if all(self._may_be_reason(seats, command, reason.code) for reason in outcome.reasons):
                yield seats
        elif outcome.code is Code.ENROLLED:
            if self._has_room(seats) and self._is_newcomer(seats, command.student_id):
                yield seats._replace(seated=seats.seated | {(command.student_id, outcome.enrollment_id)})
        elif outcome.code is Code.WAITLISTED and outcome.place is not None:
            newcomer = self._is_newcomer(seats, command.student_id)
            if newcomer and self._may_be_full(seats) and outcome.place > seats.last_place:
                waiting = (*seats.waiting, (command.student_id, outcome.enrollment_id))
                yield seats._replace(waiting=waiting, last_place=outcome.place)

    def _after_unknown_enroll(self, seats: Seats, command: Enroll) -> Iterator[Seats]:
        if not self._is_newcomer(seats, command.student_id):
            return
        member = (command.student_id, None)
        if self._has_room(seats):
            yield seats._replace(seated=seats.seated | {member})
        if command.join_waitlist and seats.is_open and self._may_be_full(seats):
            yield seats._replace(waiting=(*seats.waiting, member))

    def _after_drop(self, seats: Seats, command: Drop, outcome: Outcome | None) -> Iterator[Seats]:
        if outcome is not None and outcome.code is not Code.DROPPED:
            return  # an enrolment that somebody was told of is never "not found" to that student
        gone = {(command.student_id, command.enrollment_id), (command.student_id, None)}
        waiting = tuple(one for one in seats.waiting if one not in gone)
        yield seats._replace(seated=seats.seated - gone, waiting=waiting)

    def _has_room(self, seats: Seats) -> bool:
        nobody_first = not seats.waiting or not self._is_strict
        return seats.is_open and len(seats.seated) < seats.capacity and nobody_first

    def _may_be_full(self, seats: Seats) -> bool:
        return len(seats.seated) + len(seats.waiting) >= seats.capacity

    def _is_newcomer(self, seats: Seats, student_id: int) -> bool:
        return _member(seats.seated, student_id) is None and _member(seats.waiting, student_id) is None

    def _may_be_reason(self, seats: Seats, command: Enroll, code: ReasonCode) -> bool:
        """Whether the section can have given this reason; of reasons that lie elsewhere nothing is known here."""
        match code:
            case ReasonCode.SECTION_FULL:
                # While it is closed nobody moves up: what is free is kept for those who wait.
                return self._may_be_full(seats) or (not seats.is_open and bool(seats.waiting))
            case ReasonCode.SECTION_CLOSED:
                return not seats.is_open
            case ReasonCode.ALREADY_WAITLISTED:
                return _member(seats.waiting, command.student_id) is not None
            case ReasonCode.ALREADY_ENROLLED if self._is_strict:
                return _member(seats.seated, command.student_id) is not None
            case _:
                return not self._is_strict


def _member(members: frozenset[Member] | tuple[Member, ...], student_id: int) -> Member | None:
    return next((one for one in members if one[0] == student_id), None)


def _same(these: frozenset[Member], those: frozenset[Member]) -> bool:
    """The same students with the same enrolments, where those are known."""
    known = dict(those)
    return len(these) == len(those) and all(
        student in known and enrollment in {None, known[student]} for student, enrollment in these
    )


def _same_order(these: tuple[Member, ...], those: tuple[Member, ...]) -> bool:
    return [student for student, _ in these] == [student for student, _ in those] and _same(
        frozenset(these), frozenset(those)
    )
