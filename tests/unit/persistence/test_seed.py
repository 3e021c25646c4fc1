"""The seeded campus: the same for the same arguments, valid, and with the measured distributions."""

from __future__ import annotations

import statistics
from collections import Counter, defaultdict
from datetime import UTC, datetime, timedelta

import pytest

from persistence.imports.report import ImportFileError
from persistence.imports.rows import Bundle
from persistence.imports.seed.campus import make_campus
from persistence.imports.seed.figures import LECTURE_SIZES, draw
from persistence.imports.seed.people import CREDIT_LIMIT

NOW = datetime(2027, 1, 4, 15, 30, tzinfo=UTC)


@pytest.fixture(scope="module")
def campus() -> Bundle:
    return make_campus(600, 1000, 1, demo_password_hash="hash", now=NOW)


def test_it_has_as_many_as_asked_for(campus: Bundle) -> None:
    assert len(campus.sections) == 600
    assert len(campus.students) == len(campus.records) == 1001  # with the demo student
    assert len({section.source_key for section in campus.sections}) == 600
    assert not campus.refusals


def test_the_same_arguments_give_the_same_campus(campus: Bundle) -> None:
    assert make_campus(600, 1000, 1, demo_password_hash="hash", now=NOW) == campus
    assert make_campus(600, 1000, 2, now=NOW).sections != campus.sections


def test_a_larger_campus_contains_the_smaller() -> None:
    small, large = make_campus(100, 10, 3, now=NOW), make_campus(200, 20, 3, now=NOW)
    assert large.sections[:100] == small.sections
    assert large.courses[: len(small.courses)] == small.courses
    assert large.students[:10] == small.students


def test_nobody_and_no_room_is_in_two_places_at_once(campus: Bundle) -> None:
    taken: defaultdict[str, set[tuple[int, int]]] = defaultdict(set)
    for section in campus.sections:
        held = [("room", meeting.room, meeting) for meeting in section.meetings]
        if section.component in {"lecture", "seminar"}:
            held += [("teacher", section.teacher, meeting) for meeting in section.meetings]
        for kind, who, meeting in held:
            slots = {(meeting.weekday, at) for at in range(meeting.start_minute, meeting.end_minute, 10)}
            assert not slots & taken[f"{kind} {who}"], (kind, who, section)
            taken[f"{kind} {who}"] |= slots


def test_requisites_refer_to_courses_and_have_no_cycle(campus: Bundle) -> None:
    order = {course.code: position for position, course in enumerate(campus.courses)}
    assert campus.requisites
    assert all(order[one.required] < order[one.course] for one in campus.requisites)
    assert {one.kind for one in campus.requisites} == {"prerequisite", "corequisite"}


def test_what_students_completed_was_allowed(campus: Bundle) -> None:
    needs = defaultdict(list)
    for one in campus.requisites:
        needs[one.course].append(one)
    year = {student.number: student.class_year for student in campus.students}
    for record in campus.records:
        assert record.credit_limit == CREDIT_LIMIT
        assert year[record.number] != 1 or not record.completed
        for code in record.completed:
            for need in needs[code]:
                assert record.completed[need.required] >= (need.min_grade or 0)


def test_registration_is_open_for_everybody(campus: Bundle) -> None:
    semester = campus.semester
    assert semester.opens_at is not None and semester.closes_at is not None
    assert semester.opens_at < NOW < semester.closes_at
    opened = [record.opens_at for record in campus.records]
    assert all(one is not None and semester.opens_at <= one < NOW + timedelta(minutes=1) for one in opened)
    assert len(set(opened)) == 4


def test_a_few_have_holds_but_not_the_demo_student(campus: Bundle) -> None:
    share = sum(bool(record.holds) for record in campus.records) / len(campus.records)
    assert 0 < share < 0.05
    assert not campus.records[-1].holds


def test_lectures_have_the_seats_of_their_parts(campus: Bundle) -> None:
    groups: defaultdict[tuple[str, str], list[int]] = defaultdict(list)
    lectures = {}
    for section in campus.sections[:-30]:  # the last group may be cut
        key = (section.course, section.code[0])
        if section.component == "lecture":
            lectures[key] = section.capacity
        elif section.component in {"discussion", "lab"}:
            groups[key].append(section.capacity)
    assert groups
    assert all(lectures[key] == sum(parts) for key, parts in groups.items())


def test_components_and_sizes_follow_the_figures() -> None:
    large = make_campus(8000, 0, 5, now=NOW)
    count = Counter(section.component for section in large.sections)
    assert set(count) == {"lecture", "discussion", "seminar", "lab"}
    discussions = [section.capacity for section in large.sections if section.component == "discussion"]
    assert 29 <= statistics.median(discussions) <= 36  # 32 at UCSD
    per_course = len(large.sections) / len(large.courses)
    assert 2.0 <= per_course <= 3.0


def test_only_demo_logins_have_a_password(campus: Bundle) -> None:
    people = [*campus.staff, *(student.person for student in campus.students)]
    with_password = {person.email for person in people if person.password_hash}
    assert with_password == {f"{role}@demo.seatline.example" for role in ("student", "teacher", "admin")}
    plain = make_campus(10, 10, 1, now=NOW)
    assert not any("demo" in person.email for person in plain.staff)


def test_numbers_out_of_range_are_refused() -> None:
    with pytest.raises(ImportFileError):
        make_campus(0, 10, 1)
    with pytest.raises(ImportFileError):
        make_campus(10, -1, 1)


def test_draws_stay_within_the_measured_range() -> None:
    import random

    drawn = [draw(random.Random(n), LECTURE_SIZES) for n in range(2000)]
    assert min(drawn) >= LECTURE_SIZES[0] and max(drawn) <= LECTURE_SIZES[-1]
    assert 35 <= statistics.median(drawn) <= 45
