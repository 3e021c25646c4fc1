"""Free seats that a waiting student could have, but that no actor may be looking at.

An actor promotes by itself whenever it can. One that dies between freeing a seat and promoting leaves the seat free
until somebody asks for its section; this finds such sections.
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
    """Looks for them, on a connection of its own."""

    def __init__(self, database_url: str) -> None:
        self._database_url = database_url
        self._connection: asyncpg.Connection | None = None

    async def find(self) -> list[tuple[int, int]]:
        """(section id, student id) of the first waiting student of each section with such a seat.

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
        """Let go of the connection."""
        if self._connection is not None:
            self._connection.terminate()
            self._connection = None
