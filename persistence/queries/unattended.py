"""Unattended seats: free seats with waiting students, in sections that may not be active in any actor.

An active section promotes as soon as a seat is free. If its actor dies between freeing a seat and promoting, the seat
stays free until somebody asks for the section; this finds such sections.
"""

from __future__ import annotations

import asyncpg

from persistence.names import APPLICATION_NAME

UNATTENDED = """
SELECT DISTINCT ON (s.section_id) s.section_id, e.student_id
  FROM section_seats s
  JOIN course_sections c ON c.id = s.section_id
  JOIN semesters t ON t.id = c.semester_id
  JOIN enrollments e ON e.section_id = s.section_id AND e.status = 'waitlisted'
  JOIN registration_records r ON r.student_id = e.student_id AND r.semester_id = c.semester_id
 WHERE s.waitlisted > 0 AND s.enrolled < s.capacity AND s.is_open
   AND (t.registration_closes_at IS NULL OR t.registration_closes_at > now())
   AND (e.blocked_at IS NULL OR e.blocked_at <> r.version)
 ORDER BY s.section_id, e.place"""


class UnattendedSeats:
    """Finds unattended seats, on a connection of its own."""

    def __init__(self, database_url: str) -> None:
        self._database_url = database_url
        self._connection: asyncpg.Connection | None = None

    async def find(self) -> list[tuple[int, int]]:
        """The section ids of unattended seats, each with the id of its first waiting student.

        Raises:
            OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError: if Postgres does not answer.
        """
        try:
            if self._connection is None or self._connection.is_closed():
                self._connection = await asyncpg.connect(
                    self._database_url,
                    timeout=2.0,
                    command_timeout=5.0,
                    server_settings={"application_name": APPLICATION_NAME},
                )
            return [(row[0], row[1]) for row in await self._connection.fetch(UNATTENDED)]
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Close the connection."""
        if self._connection is not None:
            self._connection.terminate()
            self._connection = None
