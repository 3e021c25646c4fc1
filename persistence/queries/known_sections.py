"""Whether a section exists: checked before a process is started for it."""

from __future__ import annotations

import asyncio

import asyncpg

from persistence.names import APPLICATION_NAME


class KnownSections:
    """Checks for sections in Postgres, on one connection that is opened on first use."""

    def __init__(self, database_url: str) -> None:
        self._database_url = database_url
        self._connection: asyncpg.Connection | None = None
        self._one_at_a_time = asyncio.Lock()

    async def includes(self, section_id: int) -> bool:
        """Whether there is such a section.

        Raises:
            OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError: if Postgres does not answer.
        """
        async with self._one_at_a_time:
            try:
                if self._connection is None or self._connection.is_closed():
                    settings = {"application_name": APPLICATION_NAME}
                    self._connection = await asyncpg.connect(
                        self._database_url, timeout=2.0, command_timeout=2.0, server_settings=settings
                    )
                found: bool = await self._connection.fetchval(
                    "SELECT EXISTS (SELECT FROM section_seats WHERE section_id = $1)", section_id
                )
            except BaseException:
                self.close()
                raise
            return found

    def close(self) -> None:
        """Close the connection."""
        if self._connection is not None:
            self._connection.terminate()
            self._connection = None
