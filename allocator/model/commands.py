"""What can be asked of a section. Each command names the one section that decides it."""

from __future__ import annotations

from typing import NamedTuple


class Enroll(NamedTuple):
    """Give the student a seat, or a place on the waitlist if they accept one.

    ``key`` identifies the request for ever (one key, one effect). ``keep_answer`` says that the client chose the key
    and may ask again; ``maybe_tried`` that this key may already have had its effect, so that it must be looked up.
    """

    section_id: int
    student_id: int
    join_waitlist: bool
    key: str
    keep_answer: bool
    maybe_tried: bool


class Drop(NamedTuple):
    """Give up a seat or a place. The enrolment must be the student's own."""

    section_id: int
    student_id: int
    enrollment_id: int
    key: str
    keep_answer: bool
    maybe_tried: bool


class ChangeCapacity(NamedTuple):
    """Set the number of seats. A cut below the students already in evicts nobody."""

    section_id: int
    capacity: int
    by_user_id: int


class CloseSection(NamedTuple):
    """Take no more students; those in and those waiting stay."""

    section_id: int
    by_user_id: int


class OpenSection(NamedTuple):
    """Take students again."""

    section_id: int
    by_user_id: int


class RecheckHead(NamedTuple):
    """The record of a waiting student changed: a refused promotion is worth another try."""

    section_id: int
    student_id: int


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
