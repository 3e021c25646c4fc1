"""The waitlist of one section: first come, first served, by place."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple


class Waiting(NamedTuple):
    """One waiting student.

    ``blocked_at`` is the version of their record that made a promotion impossible, if one was tried.
    """

    place: int
    student_id: int
    enrollment_id: int
    blocked_at: int | None = None


class Waitlist:
    """Waiting students in the order of their places.

    Places are given once and never again, so insertion order is place order and a plain dict keeps it.

    A draft's waitlist may try blocked students again (``unblock``). That is no fact, so a committed draft keeps nothing
    of it but the events that came of the try.
    """

    __slots__ = ("_by_student", "_unblocked", "last_place")

    def __init__(self, last_place: int = 0, waiting: tuple[Waiting, ...] | list[Waiting] = ()) -> None:
        self.last_place = last_place
        self._by_student = {one.student_id: one for one in sorted(waiting)}
        self._unblocked: set[int] | None = None

    def copy(self) -> Waitlist:
        """An independent copy."""
        other = Waitlist.__new__(Waitlist)
        other.last_place = self.last_place
        other._by_student = self._by_student.copy()
        other._unblocked = None
        return other

    def __len__(self) -> int:
        return len(self._by_student)

    def __iter__(self) -> Iterator[Waiting]:
        return iter(self._by_student.values())

    def get(self, student_id: int) -> Waiting | None:
        """The student's entry, or None."""
        return self._by_student.get(student_id)

    def position(self, student_id: int) -> int | None:
        """How many stand before the student, plus one; None if they do not wait here."""
        if student_id not in self._by_student:
            return None
        for position, waiting in enumerate(self._by_student, start=1):
            if waiting == student_id:
                return position
        raise AssertionError("unreachable: the student was found a moment ago")

    def join(self, place: int, student_id: int, enrollment_id: int) -> None:
        """Append a student. ``place`` must be beyond every place given before."""
        if place <= self.last_place:
            raise ValueError(f"place {place} was given before (last is {self.last_place})")
        if student_id in self._by_student:
            raise ValueError(f"student {student_id} waits already")
        self.last_place = place
        self._by_student[student_id] = Waiting(place, student_id, enrollment_id)

    def leave(self, student_id: int) -> None:
        """Remove a student, promoted or gone."""
        del self._by_student[student_id]

    def block(self, student_id: int, record_version: int) -> None:
        """Remember that the student's record, at this version, does not allow a promotion."""
        self._by_student[student_id] = self._by_student[student_id]._replace(blocked_at=record_version)
        if self._unblocked is not None:
            self._unblocked.discard(student_id)

    def unblock(self, student_id: int) -> None:
        """Count a blocked student as eligible until they are tried again: their record has changed."""
        if self._unblocked is None:
            self._unblocked = set()
        self._unblocked.add(student_id)

    def forget_unblocked(self) -> None:
        """Go by what is known to be blocked again. Who was not tried is found again by their record's version."""
        self._unblocked = None

    @property
    def has_eligible(self) -> bool:
        """Whether there is one. Asked twice for each command, and mostly nobody waits at all."""
        return bool(self._by_student) and next(self.eligible(), None) is not None

    def eligible(self) -> Iterator[Waiting]:
        """Those not known to be blocked, in order."""
        unblocked = self._unblocked or ()
        return (one for one in self._by_student.values() if one.blocked_at is None or one.student_id in unblocked)

    def blocked(self) -> Iterator[Waiting]:
        """Those whose promotion was refused, in order."""
        return (one for one in self._by_student.values() if one.blocked_at is not None)
