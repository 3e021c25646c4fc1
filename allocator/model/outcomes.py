"""What was decided about a command. Expected results are values; only a broken dependency is an exception."""

from __future__ import annotations

import enum
from typing import NamedTuple


class Code(enum.StrEnum):
    """How a command was decided."""

    ENROLLED = "enrolled"
    WAITLISTED = "waitlisted"
    DROPPED = "dropped"
    CHANGED = "changed"
    REFUSED = "refused"
    NOT_FOUND = "not_found"
    KEY_REUSED = "key_reused"


FINAL = frozenset(Code) - {Code.KEY_REUSED}
"""What may be stored with the request's key and given again to a repeat. A misused key keeps its first answer."""


class ReasonCode(enum.StrEnum):
    """Why a request was refused. Stable: clients branch on these."""

    REGISTRATION_CLOSED = "registration_closed"
    HOLD = "hold"
    NOT_REGISTERED = "not_registered"
    PREREQUISITE_MISSING = "prerequisite_missing"
    COREQUISITE_MISSING = "corequisite_missing"
    SCHEDULE_CONFLICT = "schedule_conflict"
    CREDIT_LIMIT = "credit_limit"
    ALREADY_ENROLLED = "already_enrolled"
    ALREADY_WAITLISTED = "already_waitlisted"
    SECTION_CLOSED = "section_closed"
    SECTION_FULL = "section_full"
    WAITLIST_FULL = "waitlist_full"


class Reason(NamedTuple):
    """One reason of a refusal.

    ``subject`` is the id that it is about (the other section, the missing course), if any.
    """

    code: ReasonCode
    detail: str
    subject: int | None = None


class Outcome(NamedTuple):
    """What was decided about one command.

    ``place`` is the waitlist sequence number, ``position`` how many stand before plus one.
    """

    code: Code
    section_id: int
    enrollment_id: int | None = None
    place: int | None = None
    position: int | None = None
    reasons: tuple[Reason, ...] = ()


def refused(section_id: int, *reasons: Reason) -> Outcome:
    """A refusal for all of ``reasons``."""
    return Outcome(Code.REFUSED, section_id, reasons=reasons)
