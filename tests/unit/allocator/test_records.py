"""A section and its students' records change by the same events, and by nothing else."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from allocator.model.events import (
    CapacityChanged,
    EnrollmentEvent,
    PromotionBlocked,
    SeatFreed,
    SeatTaken,
    WaitlistLeft,
)
from allocator.model.record import RecordKey, RegistrationRecord
from allocator.model.section import HeldEnrollment, Section, SectionState

KEY = RecordKey(1, 1)
STEPS = st.lists(st.tuples(st.sampled_from(["take", "wait", "free", "leave", "promote", "block"]), st.integers(0, 2)))


def empty() -> RegistrationRecord:
    return RegistrationRecord(KEY, 0, 0, 99, [], [])


@given(STEPS, st.integers(1, 5))
def test_the_events_of_all_sections_replay_to_the_record(steps: list[tuple[str, int]], credit_count: int) -> None:
    """Whatever one student does in three sections: the record holds what the sections say, and its events give it."""
    sections = [Section(SectionState(one, 1, 0, 99, 0, True, 0, ())) for one in range(3)]
    record = empty()
    for number, (step, one) in enumerate(steps, start=1):
        section = sections[one]
        waiting, holds = section.waitlist.get(1), one in record.enrolled
        if step == "take" and not (holds or waiting):
            section.take_seat(record, number, credit_count)
        elif step == "wait" and not (holds or waiting):
            section.join_waitlist(record, number)
        elif step == "free" and holds:
            section.free_seat(record, HeldEnrollment(number, 1, one, "enrolled", credit_count))
        elif step == "leave" and waiting:
            section.leave_waitlist(record, waiting)
        elif step == "promote" and waiting:
            section.promote(record, waiting, credit_count)
        elif step == "block" and waiting:
            section.block(record, waiting, ("hold",))

    assert sorted(record.enrolled) == [one for one in range(3) if sections[one].enrolled]
    assert sorted(record.waitlisted) == [one for one in range(3) if sections[one].waitlist]
    assert record.credits == credit_count * len(record.enrolled)
    replayed = empty()
    for section in sections:
        again = Section(SectionState(section.section_id, 1, 0, 99, 0, True, 0, ()))
        for event in section.events:
            again.apply(event)
            replayed.apply(event)  # type: ignore[arg-type]  # all of these are about the student
        assert again.state() == section.state()
    assert (replayed.version, replayed.credits) == (record.version, record.credits)
    assert sorted(replayed.enrolled) == sorted(record.enrolled)
    assert sorted(replayed.waitlisted) == sorted(record.waitlisted)


def test_a_refused_promotion_is_no_change_of_the_record() -> None:
    record = empty()
    record.apply(PromotionBlocked(1, 2, 1, 9, 1, 0, ("hold",)))
    assert record == empty()


@pytest.mark.parametrize("event", [SeatFreed(1, 2, 1, 9, 3), WaitlistLeft(1, 2, 1, 9, 1)])
def test_what_ends_must_be_there(event: EnrollmentEvent) -> None:
    with pytest.raises(ValueError, match="not in list"):
        empty().apply(event)


def test_over_capacity_comes_by_a_cut_alone_and_only_falls() -> None:
    section, records = Section(SectionState(1, 1, 0, 3, 0, True, 0, ())), [empty() for _ in range(3)]
    for number, record in enumerate(records):
        section.take_seat(record, number, 3)
    seen = []
    for capacity in (1, 2):
        section.apply(CapacityChanged(1, section.seq + 1, capacity, None))
        seen.append(section.over_capacity)
    section.apply(SeatFreed(1, section.seq + 1, 1, 0, 3))
    seen.append(section.over_capacity)
    section.apply(SeatTaken(1, section.seq + 1, 2, 9, 3))  # a bug would have to: it does not raise what is allowed
    assert [*seen, section.over_capacity] == [2, 1, 0, 0]
