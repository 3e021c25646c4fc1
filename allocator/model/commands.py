"""What can be asked of sections. A command says what it is about; who asked, and under which key, is its envelope's."""

from __future__ import annotations

from typing import NamedTuple


class Needs(NamedTuple):
    """What must be at hand before a command can be decided.

    ``section_ids`` are all sections that it decides about: by them it is routed, batched and fenced. ``student_id`` is
    the student whose registration record must be locked, None for none. ``enrollment_ids`` are to be read.
    """

    section_ids: tuple[int, ...]
    student_id: int | None = None
    enrollment_ids: tuple[int, ...] = ()


class Enroll(NamedTuple):
    """Give the student a seat, or a place on the waitlist if they accept one."""

    section_id: int
    student_id: int
    join_waitlist: bool

    @property
    def needs(self) -> Needs:
        """The section and the student's record."""
        return Needs((self.section_id,), self.student_id)


class Drop(NamedTuple):
    """Give up a seat or a place. The enrolment must be the student's own."""

    section_id: int
    student_id: int
    enrollment_id: int

    @property
    def needs(self) -> Needs:
        """The section, the student's record, and the enrolment."""
        return Needs((self.section_id,), self.student_id, (self.enrollment_id,))


class ChangeCapacity(NamedTuple):
    """Set the number of seats. A cut below the students already in evicts nobody. ``by_user_id`` None: an import."""

    section_id: int
    capacity: int
    by_user_id: int | None

    @property
    def needs(self) -> Needs:
        """The section."""
        return Needs((self.section_id,))


class CloseSection(NamedTuple):
    """Take no more students; those in and those waiting stay."""

    section_id: int
    by_user_id: int | None

    @property
    def needs(self) -> Needs:
        """The section."""
        return Needs((self.section_id,))


class OpenSection(NamedTuple):
    """Take students again."""

    section_id: int
    by_user_id: int | None

    @property
    def needs(self) -> Needs:
        """The section."""
        return Needs((self.section_id,))


class RecheckHead(NamedTuple):
    """Look at a section's waitlist: the record of a student who waits there changed, so that they may be eligible now.

    ``student_id`` says who it is about, for logs and traces; all who are blocked there are compared.
    """

    section_id: int
    student_id: int

    @property
    def needs(self) -> Needs:
        """The section. The student's record is locked if there is a seat to offer."""
        return Needs((self.section_id,))


StudentCommand = Enroll | Drop
STUDENT_COMMANDS = (Enroll, Drop)
"""The same for ``isinstance``: a union would be put together anew for every command."""

StaffCommand = ChangeCapacity | CloseSection | OpenSection
Command = Enroll | Drop | ChangeCapacity | CloseSection | OpenSection | RecheckHead


def request_of(command: StudentCommand) -> str:
    """What was asked, in a form to compare: the same key with another text is a misuse of the key."""
    if isinstance(command, Enroll):
        return f"enroll {command.section_id} {'waitlist' if command.join_waitlist else 'seat-only'}"
    return f"drop {command.enrollment_id}"
