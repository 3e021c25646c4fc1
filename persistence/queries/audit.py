"""The audit log. Implements ``api.ports.AuditLog``."""

from __future__ import annotations

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncEngine

from persistence.queries.connection import writing
from persistence.schema.tables import audit_log


class PostgresAuditLog:
    """The audit log in Postgres: who read, or tried to read, data of others."""

    def __init__(self, engine: AsyncEngine) -> None:
        self._engine = engine

    async def record(self, user_id: int, action: str, subject: str, request_id: str) -> None:
        """Add an entry."""
        entry = sa.insert(audit_log).values(user_id=user_id, action=action, subject=subject, request_id=request_id)
        async with writing(self._engine) as connection:
            await connection.execute(entry)
