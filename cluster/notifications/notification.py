"""Notifications: messages of the outbox, as they travel through a queue in JSON."""

from __future__ import annotations

from typing import Annotated, Literal, get_args

import msgspec
from msgspec import Meta, Struct

from persistence.outbox.relay import OutboxMessage

Topic = Literal["enrolled", "waitlisted", "promoted", "promotion_blocked", "dropped", "section_cancelled"]
TOPICS: tuple[Topic, ...] = get_args(Topic)

DatabaseId = Annotated[int, Meta(ge=1, le=2**63 - 1)]
EventId = Annotated[str, Meta(pattern=r"^[0-9]{1,18}:[0-9]{1,18}$")]


class Payload(Struct, frozen=True):
    """The payload of a notification. Fields that a newer version adds are ignored."""

    student_id: DatabaseId
    section_id: DatabaseId
    reasons: tuple[str, ...] = ()


class Notification(Struct, frozen=True):
    """Something to tell a student. ``event_id`` is the same in every delivery."""

    event_id: EventId
    topic: Topic
    payload: Payload

    @property
    def student_id(self) -> int:
        """The student to notify."""
        return self.payload.student_id


class NotANotificationError(Exception):
    """The message is not a notification. The text of this error contains nothing of the message."""


_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(Notification).decode


def encode_message(message: OutboxMessage) -> str:
    """A message of the outbox, as JSON for a queue."""
    fields = {"event_id": message.event_id, "topic": message.topic, "payload": msgspec.Raw(message.payload.encode())}
    return _encode(fields).decode()


def decode_notification(body: str | bytes) -> Notification:
    """The notification in a message from a queue.

    Raises:
        NotANotificationError: if it is not one.
    """
    try:
        return _decode(body)
    except msgspec.ValidationError as error:
        raise NotANotificationError(f"not as expected: {error}") from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise NotANotificationError(f"not JSON: {type(error).__name__}") from None


def notification_of(message: OutboxMessage) -> Notification:
    """The notification in a message of the outbox.

    Raises:
        NotANotificationError: if it is not one.
    """
    return decode_notification(encode_message(message))
