"""Data for the microbenchmarks: sections, students, a batch of requests."""

from __future__ import annotations

import itertools

from allocator.model.catalogue import Meeting, SectionFacts, Term
from allocator.model.commands import Enroll
from allocator.model.delivery import Envelope
from allocator.model.record import RecordKey, RegistrationRecord
from allocator.model.section import Section, SectionState
from allocator.turns.inbox import Call, Entry

BATCH = 200
SECTIONS = 50
SEMESTER = 1
CAPACITY = 1_000_000
_keys = itertools.count(1)


def facts_of(section_id: int) -> SectionFacts:
    """Facts with two meetings a week, at one of ten times."""
    start = 480 + 60 * (section_id % 10)
    meetings = tuple(Meeting(day, start, start + 50, 0x7FFF) for day in (0, 2))
    return SectionFacts(section_id, 10_000 + section_id, "LE", 3, None, Term(SEMESTER, None, None), meetings, (), ())


FACTS = {section_id: facts_of(section_id) for section_id in range(1, SECTIONS + 1)}


def sections() -> dict[int, Section]:
    """Active sections that never fill up."""
    return {one: Section(SectionState(one, 1, 1, CAPACITY, 0, True, 0, ())) for one in FACTS}


def records(count: int = BATCH) -> dict[RecordKey, RegistrationRecord]:
    """Records of students who hold three sections that do not clash with the others."""
    held = [1_001, 1_002, 1_003]
    keys = [RecordKey(student_id, SEMESTER) for student_id in range(1, count + 1)]
    return {key: RegistrationRecord(key, 3, 9, 1_000, held.copy(), []) for key in keys}


HELD = {
    one: SectionFacts(one, 20_000 + one, "LE", 3, None, Term(SEMESTER, None, None), (Meeting(4, 0, 60, 1),), (), ())
    for one in (1_001, 1_002, 1_003)
}
EVERY_FACT = {**FACTS, **HELD}


def envelopes(count: int = BATCH) -> list[Envelope]:
    """One request of each student, with a key of the client's, over all sections."""
    return [
        Envelope(Enroll(1 + student_id % SECTIONS, student_id, True), f"key-{next(_keys)}", True, True)
        for student_id in range(1, count + 1)
    ]


def entries(count: int = BATCH) -> list[Entry]:
    """The same requests as entries of a drain loop's inbox. Call it inside an event loop."""
    call = Call(count)
    return [Entry(envelope, 1e12, call, index) for index, envelope in enumerate(envelopes(count))]
