"""Events as rows of enrollment_history, and back. The only place that knows which column means what."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple, assert_never

from allocator.model.events import (
    CapacityChanged,
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


class HistoryRow(NamedTuple):
    """The columns of enrollment_history as the store writes them; ``at`` is left to the database."""

    section_id: int
    seq: int
    kind: str
    student_id: int | None
    enrollment_id: int | None
    place: int | None
    number: int | None
    detail: str | None
    epoch: int


COLUMNS = HistoryRow._fields


class UnknownEventError(ValueError):
    """A row of the history that this version of the code cannot read."""


def event_to_row(event: Event, epoch: int) -> HistoryRow:
    """``event`` as a row, written by an actor that held the section under ``epoch``."""
    kind = type(event).__name__
    number, detail = _number_and_detail(event)
    return HistoryRow(
        event.section_id,
        event.seq,
        kind,
        getattr(event, "student_id", None),
        getattr(event, "enrollment_id", None),
        getattr(event, "place", None),
        number,
        detail,
        epoch,
    )


def _number_and_detail(event: Event) -> tuple[int | None, str | None]:
    match event:
        case SectionCreated():
            return event.capacity, None
        case SeatTaken() | StudentPromoted() | SeatFreed():
            return event.credits, None
        case PromotionBlocked():
            return event.record_version, ",".join(event.reasons)
        case CapacityChanged():
            return event.capacity, _text(event.by_user_id)
        case SectionClosed() | SectionOpened():
            return None, _text(event.by_user_id)
        case StudentWaitlisted() | WaitlistLeft():
            return None, None
        case _:
            assert_never(event)


def _text(user_id: int | None) -> str | None:
    return None if user_id is None else str(user_id)


def event_from_row(row: Mapping[str, Any]) -> Event:
    """The event of a row (an asyncpg record or anything that gives the columns by name).

    Raises:
        UnknownEventError: if the kind is unknown or a column that the kind needs is missing or senseless.
    """
    kind = row["kind"]
    reader = _READERS.get(kind)
    if reader is None:
        raise UnknownEventError(f"event {row['section_id']}/{row['seq']} has the unknown kind {kind!r}")
    try:
        return reader(row)
    except (TypeError, ValueError) as error:
        raise UnknownEventError(f"event {row['section_id']}/{row['seq']} is no {kind}: {error}") from error


def _need(row: Mapping[str, Any], column: str) -> int:
    value = row[column]
    if value is None:
        raise ValueError(f"{column} is null")
    return int(value)


def _user(row: Mapping[str, Any]) -> int | None:
    return None if row["detail"] is None else int(row["detail"])


def _section_created(row: Mapping[str, Any]) -> Event:
    return SectionCreated(row["section_id"], row["seq"], _need(row, "number"))


def _seat_taken(row: Mapping[str, Any]) -> Event:
    return SeatTaken(*_student(row), _need(row, "number"))


def _student_waitlisted(row: Mapping[str, Any]) -> Event:
    return StudentWaitlisted(*_student(row), _need(row, "place"))


def _student_promoted(row: Mapping[str, Any]) -> Event:
    return StudentPromoted(*_student(row), _need(row, "place"), _need(row, "number"))


def _promotion_blocked(row: Mapping[str, Any]) -> Event:
    reasons = tuple((row["detail"] or "").split(",")) if row["detail"] else ()
    return PromotionBlocked(*_student(row), _need(row, "place"), _need(row, "number"), reasons)


def _seat_freed(row: Mapping[str, Any]) -> Event:
    return SeatFreed(*_student(row), _need(row, "number"))


def _waitlist_left(row: Mapping[str, Any]) -> Event:
    return WaitlistLeft(*_student(row), _need(row, "place"))


def _capacity_changed(row: Mapping[str, Any]) -> Event:
    return CapacityChanged(row["section_id"], row["seq"], _need(row, "number"), _user(row))


def _section_closed(row: Mapping[str, Any]) -> Event:
    return SectionClosed(row["section_id"], row["seq"], _user(row))


def _section_opened(row: Mapping[str, Any]) -> Event:
    return SectionOpened(row["section_id"], row["seq"], _user(row))


def _student(row: Mapping[str, Any]) -> tuple[int, int, int, int]:
    return row["section_id"], row["seq"], _need(row, "student_id"), _need(row, "enrollment_id")


_READERS = {
    SectionCreated.__name__: _section_created,
    SeatTaken.__name__: _seat_taken,
    StudentWaitlisted.__name__: _student_waitlisted,
    StudentPromoted.__name__: _student_promoted,
    PromotionBlocked.__name__: _promotion_blocked,
    SeatFreed.__name__: _seat_freed,
    WaitlistLeft.__name__: _waitlist_left,
    CapacityChanged.__name__: _capacity_changed,
    SectionClosed.__name__: _section_closed,
    SectionOpened.__name__: _section_opened,
}
