"""Registration records, replayed from the histories of all sections."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import asyncpg

from allocator.model.events import CapacityChanged, Event, SectionClosed, SectionCreated, SectionOpened
from allocator.model.record import RecordKey, RegistrationRecord
from persistence.verify.findings import Offences

PREFETCH = 5000

SEMESTERS = "SELECT id, semester_id FROM course_sections"

RECORDS = """
SELECT student_id, semester_id, version, credits, enrolled, waitlisted FROM registration_records
 ORDER BY student_id, semester_id"""
COLUMNS = ("version", "credits", "enrolled", "waitlisted")


class ReplayedRecords:
    """What the events of all sections come to for each student.

    Events of different sections commute here: a record is compared by its credits and by which sections it has, not by
    the order in which it got them. What an import sets (limit, holds, completed courses) is in no event.

    Args:
        semesters: by section id.
    """

    def __init__(self, semesters: Mapping[int, int]) -> None:
        self._semesters = semesters
        self._records: dict[RecordKey, RegistrationRecord] = {}

    def apply(self, event: Event) -> None:
        """Apply the next event of a section. One that is about no student changes no record.

        Raises:
            ValueError: if it ends what the student does not have.
        """
        if isinstance(event, SectionCreated | CapacityChanged | SectionClosed | SectionOpened):
            return
        semester_id = self._semesters.get(event.section_id)
        if semester_id is None:
            return  # a section that the catalogue does not know: found by other checks
        key = RecordKey(event.student_id, semester_id)
        record = self._records.get(key)
        if record is None:
            record = self._records[key] = RegistrationRecord(key, 0, 0, 0, [], [])
        record.apply(event)

    def agrees_with(
        self, key: RecordKey, version: int, credit_count: int, enrolled: Sequence[int], waitlisted: Sequence[int]
    ) -> bool:
        """Whether a record as it stands is what the histories gave. An import may raise its version beyond that."""
        replayed = self._records.get(key) or RegistrationRecord(key, 0, 0, 0, [], [])
        given = (replayed.credits, sorted(replayed.enrolled), sorted(replayed.waitlisted))
        return given == (credit_count, sorted(enrolled), sorted(waitlisted)) and replayed.version <= version

    async def compare(self, connection: asyncpg.Connection, offences: Offences) -> None:
        """Compare what the histories gave with the table."""
        seen: set[RecordKey] = set()
        async for student_id, semester_id, *record in connection.cursor(RECORDS, prefetch=PREFETCH):
            key = RecordKey(student_id, semester_id)
            seen.add(key)
            if not self.agrees_with(key, *record):
                offences.add(**key._asdict(), history=self._shown(key), table=dict(zip(COLUMNS, record, strict=True)))
        for key in sorted(self._records.keys() - seen):
            offences.add(**key._asdict(), history=self._shown(key), table=None)

    def _shown(self, key: RecordKey) -> dict[str, object]:
        record = self._records.get(key) or RegistrationRecord(key, 0, 0, 0, [], [])
        return dict(zip(COLUMNS, (record.version, record.credits, record.enrolled, record.waitlisted), strict=True))
