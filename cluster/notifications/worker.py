"""The worker of ``seatline notify``: receives notifications from the queue and mails them."""

from __future__ import annotations

import asyncio
import logging
import random

import asyncpg

from cluster.notifications.delivery import Delivery, topics_of
from cluster.notifications.mailers import Mailer, MailerAwayError
from cluster.notifications.notification import NotANotificationError, Notification, decode_notification
from cluster.notifications.queue import NotificationQueue, QueueAwayError, Received

log = logging.getLogger(__name__)

BACKOFF_MIN_S = 0.5
BACKOFF_MAX_S = 30.0

AWAY = (QueueAwayError, MailerAwayError, asyncpg.PostgresError, asyncpg.InterfaceError, OSError, TimeoutError)


class Worker:
    """Receives messages, mails them, deletes them, in this order, so that each is mailed at least once.

    What cannot be mailed stays in the queue, which offers it again and finally moves it to the dead letters.
    """

    def __init__(self, queue: NotificationQueue, delivery: Delivery, mailer: Mailer) -> None:
        self._queue = queue
        self._delivery = delivery
        self._mailer = mailer

    async def run(self, stopping: asyncio.Event) -> None:
        """Work until ``stopping`` is set, then finish what was received."""
        backoff_s = 0.0
        try:
            await self._wait_for_mailer(stopping)
            while not stopping.is_set():
                try:
                    await self.work_once()
                except AWAY as error:
                    backoff_s = min(max(backoff_s * 2, BACKOFF_MIN_S), BACKOFF_MAX_S)
                    log.warning("notifications: nothing is sent, next try in %.1f s: %s", backoff_s, _text(error))
                    await _pause(stopping, backoff_s * random.uniform(0.8, 1.2))  # noqa: S311
                    await self._wait_for_mailer(stopping)
                    continue
                backoff_s = 0.0
        finally:
            self._delivery.close()

    async def work_once(self) -> int:
        """Receive some messages and mail them.

        Returns:
            how many were deleted.

        Raises:
            QueueAwayError, MailerAwayError, or what ``Delivery.deliver`` raises: what was not deleted comes again.
        """
        received = await self._queue.receive()
        readable = [(one, notification) for one in received if (notification := _read(one)) is not None]
        if not readable:
            return 0
        notifications = [notification for _, notification in readable]
        delivered = await self._delivery.deliver(notifications)
        done = [one for one, notification in readable if notification.event_id in delivered.done]
        if done:
            await self._queue.delete(done)
            log.info("notifications: %d done of (%s)", len(done), topics_of(notifications))
        if delivered.away is not None:
            raise delivered.away
        if delivered.left:
            await self._mailer.check()  # SES reports an unverified sender in the same way
        return len(done)

    async def _wait_for_mailer(self, stopping: asyncio.Event) -> None:
        """Receive nothing while nothing can be mailed: each receive brings a message closer to the dead letters."""
        backoff_s = BACKOFF_MIN_S
        while not stopping.is_set():
            try:
                await self._mailer.check()
            except MailerAwayError as error:
                backoff_s = min(backoff_s * 2, BACKOFF_MAX_S)
                log.warning("notifications: no mail can be sent, next check in %.1f s: %s", backoff_s, error)
                await _pause(stopping, backoff_s * random.uniform(0.8, 1.2))  # noqa: S311
            else:
                return


def _read(received: Received) -> Notification | None:
    try:
        return decode_notification(received.body)
    except NotANotificationError as error:
        log.error("notifications: a message that cannot be read is left to the dead letters: %s", error)
        return None


async def _pause(stopping: asyncio.Event, seconds: float) -> None:
    try:
        async with asyncio.timeout(seconds):
            await stopping.wait()
    except TimeoutError:
        pass


def _text(error: BaseException) -> str:
    return str(error) or type(error).__name__
