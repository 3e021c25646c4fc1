"""Wing and Gong's search for a legal order, with the memory of Lowe's.

J. M. Wing and C. Gong, "Testing and verifying concurrent objects" (1993); G. Lowe, "Testing for linearizability"
(2017). Sections share nothing that the model looks at, so each is searched by itself.
"""

from __future__ import annotations

import enum
import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import NamedTuple

from allocator.model.commands import Command, Drop, Enroll
from allocator.model.outcomes import Code, Outcome
from tests.linearizability.history import Operation
from tests.linearizability.model import Seats, SectionModel

NODES_MAX = 300_000


class Answer(enum.Enum):
    """What a search came to."""

    LINEARIZABLE = "linearizable"
    NOT_LINEARIZABLE = "not linearizable"
    UNDECIDED = "undecided"


class Verdict(NamedTuple):
    """The answer; and, unless there is an order, the longest one that was found and what could not follow it."""

    answer: Answer
    operations: int
    order: tuple[Operation, ...]
    stuck: tuple[Operation, ...]

    @property
    def holds(self) -> bool:
        """Whether a legal order was found."""
        return self.answer is Answer.LINEARIZABLE

    def explain(self) -> str:
        """The end of the longest order, and what could not follow, for a person to read."""
        lines = [f"{self.answer.value}: {len(self.order)} of {self.operations} operations have an order; its end:"]
        lines += [f"  {_line(one)}" for one in self.order[-12:]]
        return "\n".join([*lines, "none of these can follow:", *(f"  {_line(one)}" for one in self.stuck)])


class _Node(NamedTuple):
    """A partial order: all operations before ``first`` are in it or given up, and those of the bits after it."""

    first: int
    bits: int
    seats: Seats


def check_section(
    operations: Sequence[Operation],
    start: Seats,
    final: Seats | None = None,
    *,
    is_strict: bool,
    nodes_max: int = NODES_MAX,
) -> Verdict:
    """Look for an order of the operations that a section could have carried out one by one.

    Args:
        operations: of one section, by invocation.
        start: the section before them.
        final: the section after them, as the tables have it once all is quiet; None leaves it open.
        is_strict: see ``SectionModel``.
        nodes_max: partial orders to look at before it is left undecided.
    """
    if final is not None:
        operations = _without_what_never_was(operations, final)
    return _Search(operations, SectionModel(is_strict=is_strict), final).run(start, nodes_max)


def resolved(operations: Iterable[Operation], outcome_of: Callable[[Operation], Outcome | None]) -> list[Operation]:
    """Operations that got no answer, as the product's own books have them: with their outcome, or not at all.

    When such a one took effect stays open. Fewer guesses make the search short; that the books are right is shown by
    the rest of the history, which would not fit otherwise.

    Args:
        operations: of one section, by invocation.
        outcome_of: the stored outcome of an operation, None if it had no effect.
    """
    known = []
    for operation in operations:
        outcome = operation.outcome or outcome_of(operation)
        if outcome is not None:
            known.append(operation._replace(outcome=outcome))
    return known


def _without_what_never_was(operations: Sequence[Operation], final: Seats) -> list[Operation]:
    """Leave out what got no answer and, as the end shows, had no effect: each such halves what is to be searched."""
    members = final.seated.union(final.waiting)
    students = {student for student, _ in members}
    dropping = {one.command.student_id for one in operations if isinstance(one.command, Drop)}

    def may_have_been(operation: Operation) -> bool:
        command = operation.command
        if operation.outcome is not None:
            return True
        if isinstance(command, Drop):
            return (command.student_id, command.enrollment_id) not in members
        return not isinstance(command, Enroll) or command.student_id in students | dropping

    return [one for one in operations if may_have_been(one)]


def _who_stay(operations: Iterable[Operation], final: Seats | None) -> dict[int, int]:
    """Students who wait at the end and never asked to leave, with their order among themselves.

    Each of them joined the line once, behind all who were in it.
    """
    if final is None:
        return {}
    leaving = {one.command.student_id for one in operations if isinstance(one.command, Drop)}
    return {student: place for place, student in enumerate(one for one, _ in final.waiting if one not in leaving)}


class _Search:
    def __init__(self, operations: Sequence[Operation], model: SectionModel, final: Seats | None) -> None:
        self._operations = operations
        self._model = model
        self._final = final
        self._stay = _who_stay(operations, final)

    def run(self, start: Seats, nodes_max: int) -> Verdict:
        root = _Node(0, 0, start)
        seen = {root}
        stack = [(root, self._steps(root))]
        path: list[int] = []
        longest: tuple[list[int], _Node] = ([], root)
        while stack:
            node, steps = stack[-1]
            if self._is_done(node):
                return self._verdict(Answer.LINEARIZABLE, path, None)
            step = next((one for one in steps if one[1] not in seen), None)
            if step is None:
                stack.pop()
                del path[-1:]
                continue
            if len(seen) >= nodes_max:
                return self._verdict(Answer.UNDECIDED, *longest)
            index, following = step
            seen.add(following)
            path.append(index)
            stack.append((following, self._steps(following)))
            if len(path) > len(longest[0]):
                longest = (path.copy(), following)
        return self._verdict(Answer.NOT_LINEARIZABLE, *longest)

    def _is_done(self, node: _Node) -> bool:
        if any(self._operations[index].outcome is not None for index in self._left(node)):
            return False
        return self._final is None or self._model.may_end_as(node.seats, self._final)

    def _left(self, node: _Node) -> Iterator[int]:
        """Operations that are not in the order yet."""
        for index in range(node.first, len(self._operations)):
            if not node.bits >> (index - node.first) & 1:
                yield index

    def _candidates(self, node: _Node) -> list[int]:
        """Those that may come next: no other that is left had returned when they were invoked."""
        candidates: list[int] = []
        first_return = math.inf
        for index in self._left(node):
            operation = self._operations[index]
            if operation.invoked > first_return:
                break
            first_return = min(first_return, operation.returned)
            candidates.append(index)
        # Who was answered first was most likely served first; what was never answered is tried last.
        return sorted(candidates, key=lambda index: self._operations[index].returned)

    def _steps(self, node: _Node) -> Iterator[tuple[int, _Node]]:
        steps: list[tuple[int, list[Seats]]] = []
        unanswered: set[Command] = set()
        for index in self._candidates(node):
            command, outcome = self._operations[index].command, self._operations[index].outcome
            after = self._after(node, index)
            if after and outcome is not None and outcome.code is Code.REFUSED:
                yield index, self._with(node, index, node.seats)  # it fits and never changes anything: no need to wait
                return
            if outcome is None:
                if after == [node.seats] or command in unanswered:  # of no use here; or the first of equals will do
                    continue
                unanswered.add(command)
            steps.append((index, after))
        for index, after in steps:
            for seats in after:
                yield index, self._with(node, index, seats)

    def _after(self, node: _Node, index: int) -> list[Seats]:
        operation = self._operations[index]
        after = self._model.after(node.seats, operation.command, operation.outcome)
        return [seats for seats in after if self._leads_to_the_end(seats)]

    def _leads_to_the_end(self, seats: Seats) -> bool:
        """Whether those who stay in line have come to it so far in the order in which they stand there at the end."""
        if not self._stay:
            return True
        line = [student for student, _ in seats.waiting if student in self._stay]
        is_begun = all(self._stay[student] == position for position, student in enumerate(line))
        return is_begun and not any(student in self._stay for student, _ in seats.seated)

    def _with(self, node: _Node, index: int, seats: Seats) -> _Node:
        first, bits = node.first, node.bits | 1 << (index - node.first)
        while bits & 1:
            first, bits = first + 1, bits >> 1
        return _Node(first, bits, seats)

    def _verdict(self, answer: Answer, path: list[int], node: _Node | None) -> Verdict:
        stuck = () if node is None else tuple(self._operations[index] for index in self._candidates(node))
        return Verdict(answer, len(self._operations), tuple(self._operations[index] for index in path), stuck)


def _line(operation: Operation) -> str:
    outcome = operation.outcome
    seen = "no answer"
    if outcome is not None:
        reasons = ",".join(reason.code for reason in outcome.reasons)
        details = f" id={outcome.enrollment_id} place={outcome.place} {reasons}"
        seen = outcome.code.value + details
    return f"[{operation.invoked}..{operation.returned}] {operation.process}: {operation.command} -> {seen}"
