"""The queue of notifications (SQS FIFO): the outbox relay sends to it, the worker that mails them receives."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from cluster.aws.clients import AwsClients
from cluster.aws.errors import AwsAwayError, AwsError
from cluster.notifications.notification import NotANotificationError, encode_message, notification_of
from cluster.notifications.queue import QueueAwayError, Received
from persistence.outbox.relay import NotAllSentError, OutboxMessage

SERVICE = "sqs"
BATCH_MAX = 10
LANES_MAX = 4
"""How many batches are sent concurrently."""
BUDGET_S = 15.0
"""After so long ``send`` returns what was accepted. The relay has a slightly longer timeout, after which it would count
nothing as accepted."""
POLL_S = 3
"""How long a receive waits for messages. Shorter than the read timeout, and a worker that stops waits for it."""


class SqsSink:
    """The sending end. Implements ``persistence.outbox.relay.Sink``.

    The messages of a student are one message group, so SQS delivers them in order, one at a time. SQS drops what is
    sent twice within five minutes, by the event's id; the worker drops later repeats.
    """

    def __init__(self, clients: AwsClients, queue_url: str) -> None:
        self._clients = clients
        self._queue_url = queue_url

    async def send(self, messages: Sequence[OutboxMessage]) -> None:
        """Queue ``messages``. If one is refused, the later ones of the same student are not sent, to keep their order.

        Raises:
            AwsError: if none was queued.
            NotAllSentError: if only some were.
        """
        sending = _Sending()
        try:
            async with asyncio.timeout(BUDGET_S):
                await asyncio.gather(*(self._send_lane(lane, sending) for lane in _lanes(messages)))
        except TimeoutError:
            sending.error = AwsAwayError(f"{SERVICE}: {len(messages)} messages take more than {BUDGET_S:g} s")
        if sending.error is not None and not sending.accepted:
            raise sending.error
        if len(sending.accepted) < len(messages):
            raise NotAllSentError(sending.accepted, str(sending.error or sending.refusal))

    async def _send_lane(self, lane: Sequence[tuple[OutboxMessage, str]], sending: _Sending) -> None:
        failed_groups: set[str] = set()
        for start in range(0, len(lane), BATCH_MAX):
            entries = [(one, group) for one, group in lane[start : start + BATCH_MAX] if group not in failed_groups]
            if not entries:
                continue
            try:
                failed = await self._send_batch(entries)
            except AwsError as error:
                sending.error = error
                return
            for one, group in entries:
                if one.id in failed:
                    failed_groups.add(group)
                    sending.refusal = f"{SERVICE} refused a message: {failed[one.id]}"
                else:
                    sending.accepted.add(one.id)

    async def _send_batch(self, entries: Sequence[tuple[OutboxMessage, str]]) -> dict[int, str]:
        """Send one batch.

        Returns:
            the error codes of the messages that were not accepted, by id.
        """
        request = [
            {
                "Id": str(message.id),
                "MessageBody": encode_message(message),
                "MessageGroupId": group,
                "MessageDeduplicationId": message.event_id,
            }
            for message, group in entries
        ]

        def send(client: Any) -> Any:
            return client.send_message_batch(QueueUrl=self._queue_url, Entries=request)

        answer = await self._clients.call(SERVICE, send)
        taken = {int(one["Id"]) for one in answer.get("Successful", ())}
        codes = {int(one["Id"]): str(one.get("Code")) for one in answer.get("Failed", ())}
        # A message that the answer does not mention was not accepted.
        return {message.id: codes.get(message.id, "unanswered") for message, _ in entries if message.id not in taken}


class _Sending:
    """The progress of one ``send``: ids of the accepted messages, and why others were not accepted."""

    def __init__(self) -> None:
        self.accepted: set[int] = set()
        self.error: AwsError | None = None
        self.refusal = ""


class SqsQueue:
    """The queue as the worker sees it. Implements ``cluster.notifications.queue.NotificationQueue``."""

    def __init__(self, clients: AwsClients, queue_url: str) -> None:
        self._clients = clients
        self._queue_url = queue_url

    async def receive(self) -> list[Received]:
        """Up to ten messages, after waiting up to ``POLL_S`` seconds for the first."""

        def receive(client: Any) -> Any:
            return client.receive_message(
                QueueUrl=self._queue_url, MaxNumberOfMessages=BATCH_MAX, WaitTimeSeconds=POLL_S
            )

        answer = await self._call(receive)
        return [Received(one["ReceiptHandle"], one["Body"]) for one in answer.get("Messages", ())]

    async def delete(self, received: Iterable[Received]) -> int:
        """Delete messages of one ``receive``. Those that SQS does not delete come again, and are dropped as repeats."""
        entries = [{"Id": str(number), "ReceiptHandle": one.receipt} for number, one in enumerate(received)]

        def delete(client: Any) -> Any:
            return client.delete_message_batch(QueueUrl=self._queue_url, Entries=entries)

        answer = await self._call(delete)
        return len(answer.get("Successful", ()))

    async def _call(self, work: Callable[[Any], Any]) -> Any:
        try:
            return await self._clients.call(SERVICE, work)
        except AwsError as error:
            raise QueueAwayError(str(error)) from error


def group_of(message: OutboxMessage) -> str:
    """The message group: the student, or the section if the message names no student."""
    try:
        return str(notification_of(message).student_id)
    except NotANotificationError:
        return f"section-{message.event_id.partition(':')[0]}"


def _lanes(messages: Sequence[OutboxMessage]) -> list[list[tuple[OutboxMessage, str]]]:
    """The messages with their groups, distributed so that a group is in one lane only. Lanes are sent concurrently."""
    count = min(LANES_MAX, -(-len(messages) // BATCH_MAX))
    lanes: list[list[tuple[OutboxMessage, str]]] = [[] for _ in range(count)]
    for message in messages:
        group = group_of(message)
        lanes[hash(group) % count].append((message, group))
    return lanes
