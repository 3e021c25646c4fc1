"""The changes of a turn as rows: what the events say happened to enrolments and outbox.

Both stores write what this module derives, so that the tables cannot say anything that the events do not.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import NamedTuple, assert_never, cast

import orjson

from allocator.model.events import (
    CapacityChanged,
    EnrollmentEvent,
    Event,
    PromotionBlocked,
    SeatFreed,
    SeatTaken,
    SectionClosed,
    SectionCreated,
    SectionOpened,
    StudentPromoted,
    StudentWaitlisted,
    WaitlistLeft,
)

TOPICS: dict[type[Event], str] = {
    SeatTaken: "enrolled",
    StudentWaitlisted: "waitlisted",
    StudentPromoted: "promoted",
    PromotionBlocked: "promotion_blocked",
    SeatFreed: "dropped",
    WaitlistLeft: "dropped",
}
"""The events that somebody is told of, and under which topic."""

TOLD_NOBODY: frozenset[type[Event]] = frozenset({SectionCreated, CapacityChanged, SectionClosed, SectionOpened})


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
        match event:
            case SeatTaken():
                section_id, _, student_id, enrollment_id, credit_count = event
                yield NewEnrollment(enrollment_id, student_id, section_id, "enrolled", credit_count, None)
            case StudentWaitlisted():
                section_id, _, student_id, enrollment_id, place = event
                yield NewEnrollment(enrollment_id, student_id, section_id, "waitlisted", 0, place)
            case StudentPromoted() | PromotionBlocked() | SeatFreed() | WaitlistLeft():
                pass  # changes one that is there
            case SectionCreated() | CapacityChanged() | SectionClosed() | SectionOpened():
                pass  # concerns nobody's enrolment
            case _:
                assert_never(event)


def enrollment_updates(events: Iterable[Event]) -> Iterator[EnrollmentUpdate]:
    """Enrolments that one of ``events`` changes. At most one event of a turn touches an enrolment."""
    for event in events:
        match event:
            case SeatTaken() | StudentWaitlisted():
                pass  # begins one
            case StudentPromoted():
                yield EnrollmentUpdate(event.enrollment_id, "enrolled", event.credits, None, None)
            case PromotionBlocked():
                codes = ",".join(event.reasons)
                yield EnrollmentUpdate(event.enrollment_id, "waitlisted", None, event.record_version, codes)
            case SeatFreed() | WaitlistLeft():
                yield EnrollmentUpdate(event.enrollment_id, "dropped", None, None, None)
            case SectionCreated() | CapacityChanged() | SectionClosed() | SectionOpened():
                pass  # concerns nobody's enrolment
            case _:
                assert_never(event)


def messages(events: Iterable[Event]) -> Iterator[Message]:
    """What students are told. The id is the event's own, so a repeated delivery can be recognised."""
    for event in events:
        topic = TOPICS.get(type(event))
        if topic is None:
            if type(event) not in TOLD_NOBODY:
                raise ValueError(f"nobody knows whom to tell of {type(event).__name__}")
        else:
            event = cast(EnrollmentEvent, event)
            payload = {
                "student_id": event.student_id,
                "section_id": event.section_id,
                "enrollment_id": event.enrollment_id,
            }
            if isinstance(event, PromotionBlocked):
                payload["reasons"] = event.reasons  # type: ignore[assignment]
            yield Message(f"{event.section_id}:{event.seq}", topic, orjson.dumps(payload).decode())
