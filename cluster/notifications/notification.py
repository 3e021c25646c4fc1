"""What a message of the outbox says, read from the JSON that travels."""

from __future__ import annotations

from typing import Annotated, Literal, get_args

import msgspec
from msgspec import Meta, Struct

from persistence.outbox.relay import OutboxMessage

Topic = Literal["enrolled", "waitlisted", "promoted", "promotion_blocked", "dropped", "section_cancelled"]
TOPICS: tuple[Topic, ...] = get_args(Topic)

Id = Annotated[int, Meta(ge=1, le=2**63 - 1)]
EventId = Annotated[str, Meta(pattern=r"^[0-9]{1,18}:[0-9]{1,18}$")]


class Payload(Struct, frozen=True):
    """Whom it is about. Fields that a newer version adds are passed over."""

    student_id: Id
    section_id: Id
    reasons: tuple[str, ...] = ()


class Notification(Struct, frozen=True):
    """One thing to tell one student. ``event_id`` is the same in every delivery."""

    event_id: EventId
    topic: Topic
    payload: Payload

    @property
    def student_id(self) -> int:
        """Who is told."""
        return self.payload.student_id


class NotANotificationError(Exception):
    """A message that nobody can be told of. The text names its kind, not what is in it."""


_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(Notification).decode


def encode(message: OutboxMessage) -> str:
    """A message of the outbox as it travels through a queue."""
    fields = {"event_id": message.event_id, "topic": message.topic, "payload": msgspec.Raw(message.payload.encode())}
    return _encode(fields).decode()


def decode(body: str | bytes) -> Notification:
    """The other way round.

    Raises:
        NotANotificationError: if it is none.
    """
    try:
        return _decode(body)
    except msgspec.ValidationError as error:
        raise NotANotificationError(f"not as expected: {error}") from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise NotANotificationError(f"not JSON: {type(error).__name__}") from None


def notification_of(message: OutboxMessage) -> Notification:
    """A message of the outbox, read directly.

    Raises:
        NotANotificationError: if it is none.
    """
    return decode(encode(message))
