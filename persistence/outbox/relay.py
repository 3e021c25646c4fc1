"""The outbox relay: delivers messages at least once, each with an id by which the receiver can drop duplicates.

A message is written in the transaction of the event that it is about. A relay locks a batch, sends it and deletes it in
one transaction, so a relay that dies in between sends it again. Relays skip messages that another relay has locked, so
several may run.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections import Counter
from collections.abc import Collection, Sequence
from contextlib import suppress
from typing import NamedTuple, Protocol

import asyncpg

from persistence.names import APPLICATION_NAME

log = logging.getLogger(__name__)

BATCH_MAX = 500
SEND_TIMEOUT_S = 20.0
POLL_S = 0.5
BACKOFF_MIN_S = 0.5
BACKOFF_MAX_S = 30.0

TAKE = "SELECT id, event_id, topic, payload FROM outbox ORDER BY id LIMIT $1 FOR UPDATE SKIP LOCKED"
DELETE_SENT = "DELETE FROM outbox WHERE id = ANY($1::bigint[])"
COUNT_FAILURE = "UPDATE outbox SET attempts = least(attempts + 1, 32767) WHERE id = ANY($1::bigint[])"


class OutboxMessage(NamedTuple):
    """A message in the outbox. ``event_id`` is the same in every delivery; ``payload`` is JSON."""

    id: int
    event_id: str
    topic: str
    payload: str


class NotAllSentError(Exception):
    """Some messages were delivered and others were not.

    Args:
        accepted: ids of the delivered ones.
        reason: why the others were not delivered; it may be logged.
    """

    def __init__(self, accepted: Collection[int], reason: str) -> None:
        super().__init__(reason)
        self.accepted = frozenset(accepted)


class Sink(Protocol):
    """The receiver of a relay's messages."""

    async def send(self, messages: Sequence[OutboxMessage]) -> None:
        """Deliver all of ``messages``.

        Raises:
            NotAllSentError: only the messages that it names were delivered. After any other exception, none counts as
                delivered.
        """


class LogSink:
    """Delivers to the log: topics and ids, never students or contents."""

    async def send(self, messages: Sequence[OutboxMessage]) -> None:
        """One line for the batch, and at DEBUG one for each message."""
        topics = Counter(message.topic for message in messages)
        counts = ", ".join(f"{topic} {count}" for topic, count in sorted(topics.items()))
        log.info("outbox: %d messages (%s)", len(messages), counts)
        if log.isEnabledFor(logging.DEBUG):
            for message in messages:
                log.debug("outbox: %s %s", message.topic, message.event_id)


class OutboxRelay:
    """Moves messages from the outbox to a sink.

    Args:
        database_url: as asyncpg wants it, ``postgresql://`` without a driver.
        sink: receives them.
    """

    def __init__(self, database_url: str, sink: Sink, *, batch_max: int = BATCH_MAX, poll_s: float = POLL_S) -> None:
        self._database_url = database_url
        self._sink = sink
        self._batch_max = batch_max
        self._poll_s = poll_s
        self._connection: asyncpg.Connection | None = None

    async def run(self) -> None:
        """Relay until cancelled. After a failure of sink or database it tries again, with exponential backoff."""
        backoff_s = 0.0
        try:
            while True:
                try:
                    sent = await self.relay_once()
                except Exception as error:  # noqa: BLE001  (a sink may raise anything; the relay must outlive it)
                    self._disconnect()
                    # If some messages get through, a few that do not must not hold up the rest.
                    is_all = not (isinstance(error, NotAllSentError) and error.accepted)
                    backoff_s = min(max(backoff_s * 2, BACKOFF_MIN_S), BACKOFF_MAX_S) if is_all else BACKOFF_MIN_S
                    log.warning("outbox: not delivered, next try in %.1f s: %r", backoff_s, error)
                    await asyncio.sleep(backoff_s * random.uniform(0.8, 1.2))  # noqa: S311
                    continue
                backoff_s = 0.0
                if sent < self._batch_max:
                    await asyncio.sleep(self._poll_s)
        finally:
            self._disconnect()

    async def relay_once(self) -> int:
        """Relay one batch. Messages that the sink did not accept stay, and the sink's exception is raised.

        Returns:
            how many messages were sent; 0 if there are none, or other relays have locked them all.
        """
        connection = await self._connected()
        ids: list[int] = []
        try:
            async with connection.transaction():
                messages = [OutboxMessage(*row) for row in await connection.fetch(TAKE, self._batch_max)]
                if not messages:
                    return 0
                ids = [message.id for message in messages]
                not_all = await self._send(messages)
                await connection.execute(DELETE_SENT, ids if not_all is None else list(not_all.accepted))
            if not_all is not None:
                ids = [one for one in ids if one not in not_all.accepted]
                raise not_all
        except Exception:
            if ids:
                with suppress(asyncpg.PostgresError, asyncpg.InterfaceError, OSError):
                    await connection.execute(COUNT_FAILURE, ids)
            raise
        return len(ids)

    async def _send(self, messages: Sequence[OutboxMessage]) -> NotAllSentError | None:
        try:
            async with asyncio.timeout(SEND_TIMEOUT_S):
                await self._sink.send(messages)
        except NotAllSentError as error:
            return error
        return None

    async def close(self) -> None:
        """Close the connection, for callers of `relay_once`."""
        self._disconnect()

    async def _connected(self) -> asyncpg.Connection:
        if self._connection is None or self._connection.is_closed():
            self._connection = await asyncpg.connect(
                self._database_url,
                timeout=3,
                command_timeout=10,
                server_settings={
                    "application_name": f"{APPLICATION_NAME}-outbox",
                    "statement_timeout": "5000",
                    "lock_timeout": "1000",
                    "idle_in_transaction_session_timeout": str(int((SEND_TIMEOUT_S + 5) * 1000)),
                },
            )
        return self._connection

    def _disconnect(self) -> None:
        # terminate, not close: close waits for the server, which may be the one that does not answer.
        if self._connection is not None:
            self._connection.terminate()
            self._connection = None
