"""Every rule by examples, and overlap of meetings by properties."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from allocator.model.catalogue import Meeting, Prerequisite, SectionFacts, Term
from allocator.model.outcomes import ReasonCode
from allocator.model.record import RecordKey, RegistrationRecord
from allocator.rules.case import Case, Moment
from allocator.rules.table import Judge

TERM = Term(1, 100.0, 200.0)
NINE = Meeting(0, 540, 600, 0b1111)


def section(section_id: int = 1, course_id: int = 1, **changes: object) -> SectionFacts:
    facts = SectionFacts(section_id, course_id, "LE", 3, None, TERM, (), (), ())
    return facts._replace(**changes)  # type: ignore[arg-type]


def record(**changes: object) -> RegistrationRecord:
    made = RegistrationRecord(RecordKey(1, 1), 0, 0, 18, [], [])
    for name, value in changes.items():
        setattr(made, name, value)
    return made


def codes(
    facts: SectionFacts, student: RegistrationRecord, *held: SectionFacts, now: float = 150.0
) -> list[ReasonCode]:
    student.enrolled = [one.section_id for one in held]
    return [reason.code for reason in Judge().at(Moment.ADD)(Case(facts, student, held, now))]


def test_nothing_against_it() -> None:
    assert codes(section(), record()) == []


def test_the_window_of_the_semester_includes_its_start_and_not_its_end() -> None:
    assert codes(section(), record(), now=99.9) == [ReasonCode.REGISTRATION_CLOSED]
    assert codes(section(), record(), now=100.0) == []
    assert codes(section(), record(), now=200.0) == [ReasonCode.REGISTRATION_CLOSED]


def test_a_students_own_window_narrows_the_semesters() -> None:
    assert codes(section(), record(opens_at=160.0)) == [ReasonCode.REGISTRATION_CLOSED]
    assert codes(section(), record(closes_at=140.0)) == [ReasonCode.REGISTRATION_CLOSED]
    assert codes(section(), record(opens_at=50.0, closes_at=900.0), now=250.0) == [ReasonCode.REGISTRATION_CLOSED]
    assert codes(section(term=Term(1, None, None)), record(), now=0.0) == []


def test_each_hold_is_a_reason() -> None:
    assert codes(section(), record(holds=("library fee", "advisor"))) == [ReasonCode.HOLD] * 2


def test_prerequisites_need_the_course_and_the_grade() -> None:
    wants = section(prerequisites=(Prerequisite(7, 20), Prerequisite(8, None)))
    assert codes(wants, record()) == [ReasonCode.PREREQUISITE_MISSING] * 2
    assert codes(wants, record(completed={7: 17, 8: 10})) == [ReasonCode.PREREQUISITE_MISSING]
    assert codes(wants, record(completed={7: 20, 8: 10})) == []


def test_a_corequisite_may_be_completed_or_taken_alongside() -> None:
    wants = section(corequisites=(9,))
    assert codes(wants, record()) == [ReasonCode.COREQUISITE_MISSING]
    assert codes(wants, record(completed={9: 10})) == []
    assert codes(wants, record(), section(5, course_id=9)) == []


def test_one_section_of_each_component_of_a_course() -> None:
    assert codes(section(1, 4), record(), section(1, 4)) == [ReasonCode.ALREADY_ENROLLED]
    assert codes(section(1, 4), record(), section(2, 4)) == [ReasonCode.ALREADY_ENROLLED]
    assert codes(section(1, 4), record(), section(2, 4, component="LA")) == []
    assert codes(section(1, 4), record(waitlisted=[1])) == [ReasonCode.ALREADY_WAITLISTED]
    assert codes(section(1, 4), record(waitlisted=[2])) == []


def test_overlap_needs_a_common_day_week_and_minute() -> None:
    wants = section(meetings=(NINE,))

    def against(**changes: int) -> list[ReasonCode]:
        return codes(wants, record(), section(2, 2, meetings=(NINE._replace(**changes),)))

    assert against() == [ReasonCode.SCHEDULE_CONFLICT]
    assert against(start_minute=599, end_minute=700) == [ReasonCode.SCHEDULE_CONFLICT]
    assert against(start_minute=600, end_minute=700) == []
    assert against(end_minute=540, start_minute=500) == []
    assert against(weekday=1) == []
    assert against(weeks=0b110000) == []
    assert against(weeks=0b11000) == [ReasonCode.SCHEDULE_CONFLICT]


def test_credits_may_reach_the_limit_and_not_pass_it() -> None:
    assert codes(section(credits=3), record(credits=15)) == []
    assert codes(section(credits=4), record(credits=15)) == [ReasonCode.CREDIT_LIMIT]


def test_all_reasons_come_together() -> None:
    wants = section(credits=9, meetings=(NINE,), corequisites=(9,), prerequisites=(Prerequisite(8, None),))
    found = codes(wants, record(credits=15, holds=("fee",)), section(2, 1, meetings=(NINE,)), now=0.0)
    assert set(found) == {
        ReasonCode.REGISTRATION_CLOSED,
        ReasonCode.ALREADY_ENROLLED,
        ReasonCode.HOLD,
        ReasonCode.PREREQUISITE_MISSING,
        ReasonCode.COREQUISITE_MISSING,
        ReasonCode.SCHEDULE_CONFLICT,
        ReasonCode.CREDIT_LIMIT,
    }


MEETINGS = st.builds(
    lambda day, start, length, weeks: Meeting(day, start, start + length, weeks),
    st.integers(0, 2),
    st.integers(0, 30),
    st.integers(1, 15),
    st.integers(1, 15),
)


@given(MEETINGS, MEETINGS)
def test_overlap_is_what_counting_minutes_says(one: Meeting, other: Meeting) -> None:
    def minutes(meeting: Meeting) -> set[tuple[int, int, int]]:
        weeks = [week for week in range(4) if meeting.weeks >> week & 1]
        span = range(meeting.start_minute, meeting.end_minute)
        return {(week, meeting.weekday, minute) for week in weeks for minute in span}

    assert one.overlaps(other) == other.overlaps(one) == bool(minutes(one) & minutes(other))
