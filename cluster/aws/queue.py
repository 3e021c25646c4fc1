"""The queue of notifications, SQS FIFO: in from the outbox, out to the worker that mails them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from cluster.aws.clients import AwsClients
from cluster.aws.errors import AwsAwayError, AwsError
from cluster.notifications.notification import NotANotificationError, encode, notification_of
from cluster.notifications.queue import QueueAwayError, Received
from persistence.outbox.relay import Message, NotAllSentError

SERVICE = "sqs"
BATCH_MAX = 10
LANES_MAX = 4
"""Batches on their way at once."""
BUDGET_S = 15.0
"""After so long what was taken is reported; the relay waits a little longer, and would else count nothing as taken."""
POLL_S = 3
"""How long a receive waits for messages; shorter than the read timeout, and a worker that is to stop waits for it."""


class SqsSink:
    """Where the relay sends to. Implements ``persistence.outbox.relay.Sink``.

    The messages of a student are a group, so SQS hands them out in their order, one at a time. What the relay sends
    twice within five minutes SQS drops by the event's id; later repeats are dropped by the worker.
    """

    def __init__(self, clients: AwsClients, queue_url: str) -> None:
        self._clients = clients
        self._queue_url = queue_url

    async def send(self, messages: Sequence[Message]) -> None:
        """Queue all of ``messages``. Of a student's, those after one that was refused are kept back, for their order.

        Raises:
            AwsError: none was queued.
            NotAllSentError: some were.
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

    async def _send_lane(self, lane: Sequence[tuple[Message, str]], sending: _Sending) -> None:
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

    async def _send_batch(self, entries: Sequence[tuple[Message, str]]) -> dict[int, str]:
        """Returns: by id, the code of those that were not taken."""
        request = [
            {
                "Id": str(message.id),
                "MessageBody": encode(message),
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
        # What the answer does not mention was not taken.
        return {message.id: codes.get(message.id, "unanswered") for message, _ in entries if message.id not in taken}


class _Sending:
    """What becomes of some messages: ids of those that were taken, and why others were not."""

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


def group_of(message: Message) -> str:
    """The student, or the section if it is about nobody in particular."""
    try:
        return str(notification_of(message).student_id)
    except NotANotificationError:
        return f"section-{message.event_id.partition(':')[0]}"


def _lanes(messages: Sequence[Message]) -> list[list[tuple[Message, str]]]:
    """The messages with their groups, parted so that what is sent at once has no group in common."""
    count = min(LANES_MAX, -(-len(messages) // BATCH_MAX))
    lanes: list[list[tuple[Message, str]]] = [[] for _ in range(count)]
    for message in messages:
        group = group_of(message)
        lanes[hash(group) % count].append((message, group))
    return lanes
