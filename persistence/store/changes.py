"""The changes of a turn as rows: what the events say happened to enrolments, history, stored answers and outbox.

Both stores write what this module derives, so that the tables cannot say anything that the events do not.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import NamedTuple, cast

import msgspec
import orjson

from allocator.model.events import (
    EnrollmentEvent,
    Event,
    PromotionBlocked,
    SeatFreed,
    SeatTaken,
    StudentPromoted,
    StudentWaitlisted,
    WaitlistLeft,
)
from allocator.model.outcomes import Outcome

TOPICS: dict[type[Event], str] = {
    SeatTaken: "enrolled",
    StudentWaitlisted: "waitlisted",
    StudentPromoted: "promoted",
    PromotionBlocked: "promotion_blocked",
    SeatFreed: "dropped",
    WaitlistLeft: "dropped",
}
"""The events that somebody is told of, and under which topic."""


class NewEnrollment(NamedTuple):
    """A row to insert into enrollments."""

    enrollment_id: int
    student_id: int
    section_id: int
    status: str
    credits: int
    place: int | None


class EnrollmentUpdate(NamedTuple):
    """A row of enrollments to change; ``credits`` None leaves them. Codes are joined by commas."""

    enrollment_id: int
    status: str
    credits: int | None
    blocked_at: int | None
    blocked_by: str | None


class Message(NamedTuple):
    """A row of the outbox."""

    event_id: str
    topic: str
    payload: str


def new_enrollments(events: Iterable[Event]) -> Iterator[NewEnrollment]:
    """Enrolments that begin with one of ``events``."""
    for event in events:
        if isinstance(event, SeatTaken):
            yield NewEnrollment(
                event.enrollment_id, event.student_id, event.section_id, "enrolled", event.credits, None
            )
        elif isinstance(event, StudentWaitlisted):
            yield NewEnrollment(event.enrollment_id, event.student_id, event.section_id, "waitlisted", 0, event.place)


def enrollment_updates(events: Iterable[Event]) -> Iterator[EnrollmentUpdate]:
    """Enrolments that one of ``events`` changes. At most one event of a turn touches an enrolment."""
    for event in events:
        if isinstance(event, StudentPromoted):
            yield EnrollmentUpdate(event.enrollment_id, "enrolled", event.credits, None, None)
        elif isinstance(event, PromotionBlocked):
            codes = ",".join(event.reasons)
            yield EnrollmentUpdate(event.enrollment_id, "waitlisted", None, event.record_version, codes)
        elif isinstance(event, SeatFreed | WaitlistLeft):
            yield EnrollmentUpdate(event.enrollment_id, "dropped", None, None, None)


def messages(events: Iterable[Event]) -> Iterator[Message]:
    """What students are told. The id is the event's own, so a repeated delivery can be recognised."""
    for event in events:
        topic = TOPICS.get(type(event))
        if topic is not None:
            event = cast(EnrollmentEvent, event)
            payload = {
                "student_id": event.student_id,
                "section_id": event.section_id,
                "enrollment_id": event.enrollment_id,
            }
            if isinstance(event, PromotionBlocked):
                payload["reasons"] = event.reasons  # type: ignore[assignment]
            yield Message(f"{event.section_id}:{event.seq}", topic, orjson.dumps(payload).decode())


_outcome_encoder = msgspec.json.Encoder()
_outcome_decoder = msgspec.json.Decoder(Outcome)


def encode_outcome(outcome: Outcome) -> str:
    """An outcome as it is stored with its request: a JSON array of its fields."""
    return _outcome_encoder.encode(outcome).decode()


def decode_outcome(text: str) -> Outcome:
    """The outcome of a stored answer.

    Raises:
        msgspec.DecodeError: if the text is no outcome.
    """
    return _outcome_decoder.decode(text)
