"""What the worker needs of a queue. Implemented on SQS in cluster/aws/queue.py."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple, Protocol


class QueueAwayError(Exception):
    """The queue did not answer, or refused the call. Nothing was received or deleted."""


class Received(NamedTuple):
    """A message that is hidden from other workers until it is deleted or its visibility timeout is over."""

    receipt: str
    body: str


class NotificationQueue(Protocol):
    """The receiving end of a queue of notifications."""

    async def receive(self) -> list[Received]:
        """Some messages, after waiting a little for the first.

        Raises:
            QueueAwayError: if the queue cannot be asked.
        """

    async def delete(self, received: Iterable[Received]) -> int:
        """Remove messages of one ``receive`` for good. One that is not removed comes again.

        Returns:
            how many were removed.

        Raises:
            QueueAwayError: if none was, as far as is known.
        """
