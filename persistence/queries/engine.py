"""The SQLAlchemy engine for queries: one in each process."""

from __future__ import annotations

from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from persistence.names import APPLICATION_NAME


def make_engine(sqlalchemy_url: str, *, pool_size: int = 4, statement_timeout_s: float = 2.0) -> AsyncEngine:
    """An engine with a small pool, timeouts on every connection, and autocommit.

    Args:
        sqlalchemy_url: must begin with ``postgresql+asyncpg://`` (see ``cluster.config.settings.sqlalchemy_url``).
        pool_size: connections at most; when all are in use, a caller waits.
        statement_timeout_s: how long one statement may take.
    """
    milliseconds = str(int(statement_timeout_s * 1000))
    return create_async_engine(
        sqlalchemy_url,
        pool_size=pool_size,
        # Opening a connection for one statement costs many times the statement (the driver asks for the types).
        max_overflow=0,
        pool_timeout=2.0,
        pool_pre_ping=True,
        # Most uses read with one or two statements: BEGIN and ROLLBACK, also around the ping, would be four of seven
        # round trips to Postgres.
        isolation_level="AUTOCOMMIT",
        hide_parameters=True,  # an error message is logged, and parameters are personal data
        connect_args={
            "timeout": 3.0,
            "command_timeout": statement_timeout_s + 1.0,
            "server_settings": {
                "application_name": APPLICATION_NAME,
                "statement_timeout": milliseconds,
                "lock_timeout": "1000",
                "idle_in_transaction_session_timeout": "5000",
                "timezone": "UTC",
            },
        },
    )
