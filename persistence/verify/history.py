"""The history, replayed from the start, must give exactly the tables.

History and enrolments are streamed side by side, section by section, so that the size of neither matters: in memory
there is one section at a time, the seats of all, and for each student the sections that they hold or wait for.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping
from math import inf
from typing import Any, NamedTuple, assert_never

import asyncpg

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
from allocator.model.section import Section, SectionState
from persistence.store.history import COLUMNS, UnknownEventError, event_from_row
from persistence.verify.findings import Offences
from persistence.verify.records import SEMESTERS, ReplayedRecords

PREFETCH = 5000

SEATS = """
SELECT section_id, capacity, enrolled, over_capacity, waitlisted, last_place, is_open, seq, epoch FROM section_seats"""

HISTORY = f"SELECT {', '.join(COLUMNS)} FROM enrollment_history ORDER BY section_id, seq"  # noqa: S608

ENROLLMENTS = """
SELECT section_id, id, student_id, status::text, credits, place, blocked_at, array_to_string(blocked_by, ',')
  FROM enrollments ORDER BY section_id, id"""


class Enrolment(NamedTuple):
    """A row of enrollments, as it is or as the history says it must be."""

    student_id: int
    status: str
    credits: int
    place: int | None
    blocked_at: int | None
    blocked_by: str | None


class BrokenHistoryError(Exception):
    """An event that cannot follow those before it. What comes after it in that section means nothing."""


class ReplayOffences:
    """What a replay can find, by invariant."""

    def __init__(self) -> None:
        self.seats = Offences("I1", "At no moment of the history did a section take more students than seats")
        self.rows = Offences("I3", "Every enrolment is what the history says, and none is without one")
        self.order = Offences("I4", "Places only rise, and nobody passed a waiting student who was not blocked")
        self.epochs = Offences("I8", "Epochs never fall along a section's history")
        self.replay = Offences("I9", "The history replays to exactly the seats of today")
        self.records = Offences("I9", "The history replays to exactly the registration records of today")

    def all(self) -> list[Offences]:
        """Every one, in the order of the invariants."""
        return [self.seats, self.rows, self.order, self.epochs, self.replay, self.records]


async def check_replay(connection: asyncpg.Connection, replayed: Callable[[int], None]) -> list[Offences]:
    """Replay everything in the transaction of ``connection``; ``replayed`` hears the number of events now and then."""
    found = ReplayOffences()
    seats = {row["section_id"]: row for row in await connection.fetch(SEATS)}
    histories = _Sections(connection.cursor(HISTORY, prefetch=PREFETCH))
    rows = _Sections(connection.cursor(ENROLLMENTS, prefetch=PREFETCH))
    section_ids = {*seats}
    records = ReplayedRecords({row[0]: row[1] for row in await connection.fetch(SEMESTERS)})
    events = 0
    while (section_id := await _least(histories, rows)) is not None:
        section_ids.discard(section_id)
        replay = _Replay(section_id, found, records)
        async for row in histories.of(section_id):
            replay.take(row)
            events += 1
            if events % 50_000 == 0:
                replayed(events)
        actual = {row[1]: Enrolment(*row[2:]) async for row in rows.of(section_id)}
        replay.compare(seats.get(section_id), actual)
    for section_id in sorted(section_ids):
        _Replay(section_id, found, records).compare(seats[section_id], {})
    await records.compare(connection, found.records)
    return found.all()


async def _least(*streams: _Sections) -> int | None:
    ids = [section_id for stream in streams if (section_id := await stream.next_section()) is not None]
    return min(ids, default=None)


class _Sections:
    """A stream of rows in order of sections, taken one section at a time."""

    def __init__(self, rows: AsyncIterator[Any]) -> None:
        self._rows = aiter(rows)
        self._ahead: Any = None
        self._ended = False

    async def next_section(self) -> int | None:
        """The section of the next row; None at the end."""
        if self._ahead is None and not self._ended:
            self._ahead = await anext(self._rows, None)
            self._ended = self._ahead is None
        return None if self._ahead is None else int(self._ahead["section_id"])

    async def of(self, section_id: int) -> AsyncIterator[Any]:
        """The next rows, as long as they are of ``section_id``."""
        while await self.next_section() == section_id:
            row, self._ahead = self._ahead, None
            yield row


class _Replay:
    """One section, replayed."""

    def __init__(self, section_id: int, found: ReplayOffences, records: ReplayedRecords) -> None:
        self._section = Section(SectionState(section_id, 0, 0, 0, 0, True, 0, ()))
        self._found = found
        self._records = records
        self._enrolments: dict[int, Enrolment] = {}
        self._broken = False

    def take(self, row: Mapping[str, Any]) -> None:
        """Apply the event of ``row``; after one that cannot be applied, ignore the rest."""
        if self._broken:
            return
        try:
            event = event_from_row(self._completed(row))
            self._check_sequence(event)
            self._check_epoch(row["epoch"], event)
            self._check_order(event)
            self._track(event)
            self._section.apply(event)
            self._records.apply(event)
            self._check_seats(event)
        except (BrokenHistoryError, UnknownEventError, ValueError, KeyError) as error:
            self._broken = True
            reason = f"student {error} does not wait here" if isinstance(error, KeyError) else str(error)
            self._found.replay.add(section_id=row["section_id"], seq=row["seq"], kind=row["kind"], reason=reason)

    def _completed(self, row: Mapping[str, Any]) -> Mapping[str, Any]:
        """``row``; a ``SeatFreed`` of before version 0.2 does not say how many credits went with it."""
        if row["kind"] != SeatFreed.__name__ or row["number"] is not None:
            return row
        held = self._enrolments.get(row["enrollment_id"])
        return row if held is None else {**row, "number": held.credits}

    def compare(self, seats: Mapping[str, Any] | None, actual: Mapping[int, Enrolment]) -> None:
        """Compare what the history gave with the tables."""
        if self._broken:
            return
        section = self._section
        if seats is None:
            self._found.replay.add(section_id=section.section_id, reason="it has a history but no seats")
            return
        given = {
            "capacity": section.capacity,
            "enrolled": section.enrolled,
            "over_capacity": section.over_capacity,
            "waitlisted": len(section.waitlist),
            "last_place": section.waitlist.last_place,
            "is_open": section.is_open,
            "seq": section.seq,
        }
        wrong = {
            name: {"history": value, "table": seats[name]} for name, value in given.items() if seats[name] != value
        }
        if wrong:
            self._found.replay.add(section_id=section.section_id, **wrong)
        if section.epoch > seats["epoch"]:
            self._found.epochs.add(section_id=section.section_id, epoch=section.epoch, epoch_of_seats=seats["epoch"])
        self._compare_rows(actual)

    def _compare_rows(self, actual: Mapping[int, Enrolment]) -> None:
        for enrollment_id in sorted(self._enrolments.keys() | actual.keys()):
            said, is_now = self._enrolments.get(enrollment_id), actual.get(enrollment_id)
            if said != is_now:
                self._found.rows.add(
                    section_id=self._section.section_id,
                    enrollment_id=enrollment_id,
                    history=said and said._asdict(),
                    table=is_now and is_now._asdict(),
                )

    def _check_sequence(self, event: Event) -> None:
        if event.seq != self._section.seq + 1:
            raise BrokenHistoryError(f"it should be event {self._section.seq + 1}")
        if isinstance(event, SectionCreated) != (event.seq == 1):
            raise BrokenHistoryError("a history begins with SectionCreated, once")

    def _check_epoch(self, epoch: int, event: Event) -> None:
        if epoch < self._section.epoch:
            self._found.epochs.add(
                section_id=event.section_id, seq=event.seq, epoch=epoch, epoch_before=self._section.epoch
            )
        self._section.epoch = max(epoch, self._section.epoch)

    def _check_order(self, event: Event) -> None:
        """Nobody gets a seat while someone waits before them who is not blocked."""
        waitlist = self._section.waitlist
        if isinstance(event, StudentWaitlisted) and event.place <= waitlist.last_place:
            self._found.order.add(
                section_id=event.section_id, seq=event.seq, place=event.place, last_place=waitlist.last_place
            )
        if isinstance(event, SeatTaken | StudentPromoted):
            first = next(waitlist.eligible(), None)
            # Blocked in the history may mean unblocked since: a record that changes elsewhere leaves no event here.
            # So a promotion passes those only who stand before it; a newcomer stands behind all.
            place = event.place if isinstance(event, StudentPromoted) else inf
            if first is not None and first.place < place:
                self._found.order.add(
                    section_id=event.section_id,
                    seq=event.seq,
                    student_id=event.student_id,
                    passed_student_id=first.student_id,
                    passed_place=first.place,
                )

    def _check_seats(self, event: Event) -> None:
        if isinstance(event, SeatTaken | StudentPromoted) and self._section.free < 0:
            self._found.seats.add(
                section_id=event.section_id,
                seq=event.seq,
                capacity=self._section.capacity,
                enrolled=self._section.enrolled,
            )

    def _track(self, event: Event) -> None:
        """What ``event`` makes of its enrolment's row."""
        match event:
            case SeatTaken():
                self._begin(
                    event.enrollment_id, Enrolment(event.student_id, "enrolled", event.credits, None, None, None)
                )
            case StudentWaitlisted():
                self._begin(event.enrollment_id, Enrolment(event.student_id, "waitlisted", 0, event.place, None, None))
            case StudentPromoted():
                held = self._held(event, "waitlisted", event.place)
                self._enrolments[event.enrollment_id] = held._replace(
                    status="enrolled", credits=event.credits, blocked_at=None, blocked_by=None
                )
            case PromotionBlocked():
                held = self._held(event, "waitlisted", event.place)
                self._enrolments[event.enrollment_id] = held._replace(
                    blocked_at=event.record_version, blocked_by=",".join(event.reasons)
                )
            case SeatFreed():
                self._end(event.enrollment_id, self._held(event, "enrolled", None))
            case WaitlistLeft():
                self._end(event.enrollment_id, self._held(event, "waitlisted", event.place))
            case SectionCreated() | CapacityChanged() | SectionClosed() | SectionOpened():
                pass
            case _:
                assert_never(event)

    def _begin(self, enrollment_id: int, enrolment: Enrolment) -> None:
        if enrollment_id in self._enrolments:
            raise BrokenHistoryError(f"enrolment {enrollment_id} begins twice")
        self._enrolments[enrollment_id] = enrolment

    def _held(
        self, event: StudentPromoted | PromotionBlocked | SeatFreed | WaitlistLeft, status: str, place: int | None
    ) -> Enrolment:
        held = self._enrolments.get(event.enrollment_id)
        if held is None or held.student_id != event.student_id:
            raise BrokenHistoryError(f"student {event.student_id} has no enrolment {event.enrollment_id} here")
        if held.status != status or (place is not None and held.place != place):
            raise BrokenHistoryError(f"enrolment {event.enrollment_id} is {held.status} at place {held.place}")
        return held

    def _end(self, enrollment_id: int, held: Enrolment) -> None:
        self._enrolments[enrollment_id] = held._replace(status="dropped", blocked_at=None, blocked_by=None)
