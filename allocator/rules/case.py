"""What a rule looks at: a student, a section, a moment. Values only."""

from __future__ import annotations

import enum
from collections.abc import Callable, Sequence
from typing import NamedTuple

from allocator.model.catalogue import SectionFacts
from allocator.model.outcomes import Reason
from allocator.model.record import RegistrationRecord

FactsOf = Callable[[int], SectionFacts]
"""Facts of a section by its id."""


class Moment(enum.Flag):
    """When a rule is asked.

    ``ADD``: the student would get a seat. ``WAIT``: none is free for them, so they would get a place on the waitlist.
    ``PROMOTE``: they would move up from there. ``DROP``: they would give up a seat or a place. ``SWAP``: they would
    give up one section for another.
    """

    ADD = enum.auto()
    WAIT = enum.auto()
    PROMOTE = enum.auto()
    DROP = enum.auto()
    SWAP = enum.auto()


class Case(NamedTuple):
    """One student and one section at one moment.

    ``facts`` are the section's, ``held`` those of the sections in which the student holds a seat, ``record`` is theirs
    in the section's semester. ``now`` is Unix seconds. ``is_open`` and ``waiting`` (students on the waitlist) are the
    section's; ``joins_waitlist`` says whether a place would do.
    """

    facts: SectionFacts
    record: RegistrationRecord
    held: Sequence[SectionFacts]
    now: float
    is_open: bool = True
    waiting: int = 0
    joins_waitlist: bool = True


Check = Callable[[Case], Sequence[Reason]]
"""A rule's function: every reason against it, none if there is none. Pure."""
