"""Notifications without AWS: the outbox relay writes them to the log, and as mails to files.

The files are for developers to look at. Under load only some are written, to cost the API process little; the log
counts all of them.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence

import asyncpg

from cluster.notifications.delivery import Delivery
from cluster.notifications.notification import NotANotificationError, Notification, notification_of
from persistence.outbox.relay import LogSink, OutboxMessage

log = logging.getLogger(__name__)

MAILS_PER_S = 1.0
"""Writing one takes the API process 10 ms."""
MAILS_BURST = 20


class LocalSink:
    """Implements ``persistence.outbox.relay.Sink``."""

    def __init__(self, delivery: Delivery, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._delivery = delivery
        self._monotonic = monotonic
        self._log = LogSink()
        self._allowance = float(MAILS_BURST)
        self._filled_at = monotonic()

    async def send(self, messages: Sequence[OutboxMessage]) -> None:
        """Log all of ``messages`` and write mails for some. It does not fail if a mail cannot be written."""
        await self._log.send(messages)
        chosen = [one for message in messages[: self._allowed()] if (one := _read(message)) is not None]
        if not chosen:
            return
        self._allowance -= len(chosen)
        try:
            delivered = await self._delivery.deliver(chosen)
        except (OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
            log.warning("mail: not written: %s", type(error).__name__)
            return
        beyond = len(messages) - len(chosen)
        more = f", {beyond} more would be with a mail service" if beyond else ""
        log.info("mail: %d written%s", len(delivered.done), more)
        if delivered.away is not None:
            log.warning("mail: %s", delivered.away)

    def _allowed(self) -> int:
        now = self._monotonic()
        self._allowance = min(self._allowance + (now - self._filled_at) * MAILS_PER_S, float(MAILS_BURST))
        self._filled_at = now
        return int(self._allowance)


def _read(message: OutboxMessage) -> Notification | None:
    try:
        return notification_of(message)
    except NotANotificationError as error:
        log.error("mail: %s %s is not a notification: %s", message.topic, message.event_id, error)
        return None
