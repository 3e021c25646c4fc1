"""What asyncpg raises, in the words of the store's port. The only place that knows SQLSTATEs."""

from __future__ import annotations

import asyncpg

from allocator.ports import StoreBusyError, StoreError, StoreRejectedError, StoreUnavailableError

# Lock timeout, deadlock, serialization failure, statement timeout: somebody else was in the way.
BUSY_STATES = frozenset({"55P03", "40P01", "40001", "57014"})

# Classes after which the connection is of no more use: connection lost, out of resources, operator intervention,
# I/O error; and single states: read-only (a demoted primary), terminated for idling in a transaction.
UNAVAILABLE_CLASSES = ("08", "53", "57", "58", "28", "3D")
UNAVAILABLE_STATES = frozenset({"25006", "25P03"})

SAME_KEY_AT_ONCE = "enrollment_requests_pkey"

CONNECTION_ERRORS = (OSError, TimeoutError, asyncpg.InterfaceError, asyncpg.InternalClientError)


def translate(error: Exception) -> StoreError:
    """The store error that ``error`` means, raised before COMMIT was sent: nothing was committed."""
    if isinstance(error, CONNECTION_ERRORS):
        return StoreUnavailableError(_describe(error))
    if not isinstance(error, asyncpg.PostgresError):
        raise error
    state = error.sqlstate or ""
    if state in BUSY_STATES:
        return StoreBusyError(_describe(error))
    if state in UNAVAILABLE_STATES or state.startswith(UNAVAILABLE_CLASSES):
        return StoreUnavailableError(_describe(error))
    if state == "23505" and getattr(error, "constraint_name", None) == SAME_KEY_AT_ONCE:
        return StoreBusyError(_describe(error))
    return StoreRejectedError(_describe(error))


def _describe(error: Exception) -> str:
    return f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
