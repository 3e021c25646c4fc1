"""Registration records, replayed from the histories of all sections."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import asyncpg

from allocator.model.events import CapacityChanged, Event, SectionClosed, SectionCreated, SectionOpened
from allocator.model.record import RecordKey, RegistrationRecord
from persistence.verify.findings import Offences

PREFETCH = 5000

SEMESTERS = "SELECT id, semester_id FROM course_sections"

RECORDS = """
SELECT student_id, semester_id, version, credits, enrolled, waitlisted FROM registration_records
 ORDER BY student_id, semester_id"""


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

    async def compare(self, connection: asyncpg.Connection, offences: Offences) -> None:
        """Compare what the histories gave with the table."""
        async for row in connection.cursor(RECORDS, prefetch=PREFETCH):
            key = RecordKey(row["student_id"], row["semester_id"])
            replayed = self._records.pop(key, None) or RegistrationRecord(key, 0, 0, 0, [], [])
            if _compared(replayed) != _compared_row(row) or row["version"] < replayed.version:
                offences.add(**key._asdict(), history=_shown(replayed), table=dict(row))
        for key, replayed in sorted(self._records.items()):
            if replayed.enrolled or replayed.waitlisted:
                offences.add(**key._asdict(), history=_shown(replayed), table=None)


def _compared(record: RegistrationRecord) -> tuple[int, list[int], list[int]]:
    return record.credits, sorted(record.enrolled), sorted(record.waitlisted)


def _compared_row(row: Any) -> tuple[int, list[int], list[int]]:
    return row["credits"], sorted(row["enrolled"]), sorted(row["waitlisted"])


def _shown(record: RegistrationRecord) -> dict[str, object]:
    return {
        "version_at_least": record.version,
        "credits": record.credits,
        "enrolled": sorted(record.enrolled),
        "waitlisted": sorted(record.waitlisted),
    }
