"""Turns notifications into mails: one for each event, and in order for each student."""

from __future__ import annotations

import asyncio
import logging
import time
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from typing import NamedTuple

import asyncpg

from cluster.notifications.envelope import BadAddressError, write_message
from cluster.notifications.mailers import Mailer, MailerAwayError, MailRefusedError
from cluster.notifications.notification import Notification
from cluster.notifications.render import Renderer
from persistence.names import APPLICATION_NAME
from persistence.outbox.mail_facts import MailFacts, Wanted, load_mail_facts
from persistence.outbox.sent_notifications import claim, delete_old, release

log = logging.getLogger(__name__)

TIMEOUT_S = 45.0
"""Less than the minute for which the queue hides a message from other workers (docs/configuration.md)."""
MAILING_S = 25.0
"""After so long no further mail is begun: one may take 15 s, and beyond ``TIMEOUT_S`` all claims would be undone."""
FORGET_EVERY_S = 3600.0
AT_ONCE = 4
"""How many mails are sent concurrently. Rendering one takes more than a millisecond, and an API process that does so
serves requests in between."""


class Delivered(NamedTuple):
    """The result of a delivery, by event id.

    Args:
        done: mailed now or before, or without anybody to notify. These need not be delivered again.
        left: not mailed. These are to be delivered again.
        away: why no more were tried, if nothing can be mailed at present.
    """

    done: frozenset[str]
    left: frozenset[str]
    away: MailerAwayError | None = None


class Delivery:
    """Mails notifications, on a connection of its own.

    Args:
        database_url: as asyncpg wants it.
        sender: what stands in From.
    """

    def __init__(self, database_url: str, renderer: Renderer, mailer: Mailer, sender: str) -> None:
        self._database_url = database_url
        self._renderer = renderer
        self._mailer = mailer
        self._sender = sender
        self._connection: asyncpg.Connection | None = None
        self._forgot_at = time.monotonic()

    async def deliver(self, notifications: Sequence[Notification]) -> Delivered:
        """Mail what was not mailed before.

        A mail goes out twice only if a worker dies between the mail and its commit.

        Raises:
            asyncpg.PostgresError, asyncpg.InterfaceError, OSError, TimeoutError: if the database is away. Nothing then
                counts as delivered.
        """
        try:
            async with asyncio.timeout(TIMEOUT_S):
                return await self._deliver(notifications)
        except BaseException:
            self.close()  # what it was doing is undone
            raise

    def close(self) -> None:
        """Close the connection."""
        if self._connection is not None:
            self._connection.terminate()
            self._connection = None

    async def _deliver(self, notifications: Sequence[Notification]) -> Delivered:
        connection = await self._connected()
        await self._delete_old(connection)
        async with connection.transaction():
            fresh = await claim(connection, [one.event_id for one in notifications])
            new = list({one.event_id: one for one in notifications if one.event_id in fresh}.values())
            wanted = [Wanted(one.event_id, one.payload.student_id, one.payload.section_id) for one in new]
            outcome = await self._mail_all(new, await load_mail_facts(connection, wanted))
            if outcome.left:
                await release(connection, outcome.left)
        repeats = frozenset(one.event_id for one in notifications) - fresh
        if repeats:
            log.info("notifications: %d repeats dropped", len(repeats))
        return outcome._replace(done=outcome.done | repeats)

    async def _mail_all(self, notifications: Sequence[Notification], facts: Mapping[str, MailFacts]) -> Delivered:
        by_student: dict[int, list[Notification]] = {}
        for one in notifications:
            by_student.setdefault(one.student_id, []).append(one)
        trying = _Trying()
        await asyncio.gather(*(self._mail_in_order(some, facts, trying) for some in by_student.values()))
        done = frozenset(trying.done)
        return Delivered(done, frozenset(one.event_id for one in notifications) - done, trying.away)

    async def _mail_in_order(
        self, notifications: Collection[Notification], facts: Mapping[str, MailFacts], trying: _Trying
    ) -> None:
        """Mail the notifications of one student, up to the first that does not go out."""
        for one in notifications:
            try:
                async with trying.slots:
                    if trying.is_over:
                        return
                    await self._mail(one, facts.get(one.event_id))
            except MailRefusedError as error:
                log.warning("notifications: %s %s cannot be mailed: %s", one.topic, one.event_id, error)
                return
            except MailerAwayError as error:
                trying.away = error
                return
            except Exception as error:  # noqa: BLE001  (a mail that cannot be written must not take others with it)
                log.error("notifications: %s %s cannot be written: %s", one.topic, one.event_id, type(error).__name__)
                return
            trying.done.add(one.event_id)

    async def _mail(self, notification: Notification, facts: MailFacts | None) -> None:
        topic, event_id = notification.topic, notification.event_id
        if facts is None:
            log.info("notifications: %s %s: nobody to notify", topic, event_id)
            return
        mail = self._renderer.render(notification, facts)
        try:
            message = write_message(
                mail, event_id=event_id, sender=self._sender, name=facts.name, address=facts.email, at=facts.at
            )
        except BadAddressError as error:
            # It would fail again each time, and only the registrar can correct the address.
            log.warning("notifications: %s %s: the student has no usable address: %s", topic, event_id, error)
            return
        await self._mailer.send(message, facts.email, event_id)

    async def _delete_old(self, connection: asyncpg.Connection) -> None:
        if time.monotonic() - self._forgot_at >= FORGET_EVERY_S:
            self._forgot_at = time.monotonic()
            await delete_old(connection)

    async def _connected(self) -> asyncpg.Connection:
        if self._connection is None or self._connection.is_closed():
            self._connection = await asyncpg.connect(
                self._database_url,
                timeout=3,
                command_timeout=10,
                server_settings={
                    "application_name": f"{APPLICATION_NAME}-notifications",
                    "statement_timeout": "8000",
                    "idle_in_transaction_session_timeout": str(int((TIMEOUT_S + 5) * 1000)),
                },
            )
        return self._connection


class _Trying:
    """The state of one delivery, shared by the tasks of all students."""

    def __init__(self) -> None:
        self.done: set[str] = set()
        self.away: MailerAwayError | None = None
        self.slots = asyncio.Semaphore(AT_ONCE)
        self._ends_at = time.monotonic() + MAILING_S

    @property
    def is_over(self) -> bool:
        """Whether to begin no more mails: none goes out, or it is time to commit those that did."""
        return self.away is not None or time.monotonic() >= self._ends_at


def topics_of(notifications: Collection[Notification]) -> str:
    """How many notifications there are of each topic, for a log."""
    counts = Counter(one.topic for one in notifications)
    return ", ".join(f"{topic} {count}" for topic, count in sorted(counts.items()))
