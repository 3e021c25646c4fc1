"""Run by Alembic for every command, on the connection, in the transaction and under the lock of schema/migrate.py."""

from __future__ import annotations

from alembic import context
from sqlalchemy import Connection

from persistence.schema.tables import metadata


def migrate() -> None:
    """Run the command on the given connection."""
    connection: Connection | None = context.config.attributes.get("connection")
    if connection is None or context.is_offline_mode():
        raise RuntimeError("start migrations by `seatline db upgrade` or persistence.schema.migrate")
    context.configure(
        connection=connection,
        target_metadata=metadata,
        compare_type=True,
        compare_server_default=True,
    )
    with context.begin_transaction():
        context.run_migrations()


migrate()
