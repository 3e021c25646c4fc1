"""Connections for queries, which translate errors of the driver into those of ``allocator.ports``."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Iterator

from sqlalchemy import exc
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from allocator.ports import StoreBusyError, StoreUnavailableError
from persistence.store.postgres_errors import CONNECTION_ERRORS, translate


@contextlib.asynccontextmanager
async def reading(engine: AsyncEngine) -> AsyncIterator[AsyncConnection]:
    """A connection for reading. Each statement sees what was committed when it began.

    Raises:
        StoreUnavailableError: Postgres is away.
        StoreBusyError: Postgres is too slow, or every connection is in use.
    """
    with _translated():
        async with engine.connect() as connection:
            yield connection


@contextlib.asynccontextmanager
async def writing(engine: AsyncEngine) -> AsyncIterator[AsyncConnection]:
    """A transaction: committed at the end, or rolled back if an exception leaves it. Raises as ``reading``."""
    with _translated():
        async with engine.execution_options(isolation_level="READ COMMITTED").begin() as connection:
            yield connection


@contextlib.contextmanager
def _translated() -> Iterator[None]:
    try:
        yield
    except exc.TimeoutError as error:
        raise StoreBusyError("every connection is in use") from error
    except exc.DBAPIError as error:
        # SQLAlchemy wraps a DBAPI error of its own, whose cause is the error that asyncpg raised.
        cause = error.orig.__cause__ if error.orig is not None else None
        if not isinstance(cause, Exception):
            raise StoreUnavailableError(type(error).__name__) from error
        raise translate(cause) from error
    except CONNECTION_ERRORS as error:
        raise translate(error) from error
