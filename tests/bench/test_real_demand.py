"""Demand from files of real universities."""

from __future__ import annotations

from collections import Counter, deque
from pathlib import Path

import pytest

from bench.demand import real_demand
from bench.demand.real_demand import PASSES, course_requests, data_file, open_seats, registration_curve
from bench.demand.registration_days import CurveSource, Ids
from bench.load.sources import RetriedRequests
from persistence.imports.formats.itc_files import read_instance
from persistence.imports.report import no_progress


@pytest.mark.data
def test_a_student_takes_one_class_of_each_subpart(shared_data: Path) -> None:
    path = shared_data / "itc2019" / "pu-d5-spr17.xml.gz"
    requests = course_requests(path, 1)
    classes = read_instance(path, no_progress).classes
    taken = Counter((one.student, classes[one.class_id].course, classes[one.class_id].subpart) for one in requests)
    assert set(taken.values()) == {1}
    assert len({one.student for one in requests}) == 13_497
    courses = {(student, course) for student, course, _ in taken}
    assert len(courses) == 19_614
    assert requests == course_requests(path, 1)


@pytest.mark.data
@pytest.mark.parametrize(("which", "gains"), [("first", 15_747), ("second", 5_944 + 5_897)])
def test_the_curve_has_what_the_series_says(shared_data: Path, which: str, gains: int) -> None:
    path = shared_data / "ucsd" / "sp22_seat_changes.csv.gz"
    curve = registration_curve(path, which)
    begins, ends = PASSES[which]
    assert curve == sorted(curve)
    assert curve[0].at_s >= 0
    assert curve[-1].at_s <= (ends - begins).total_seconds()
    assert sum(one.adds for one in curve) == pytest.approx(gains, rel=0.1)  # less than batches and releases
    seats = open_seats(path, which)
    assert {one.section for one in curve} <= seats.keys()
    assert min(seats.values()) == 0


@pytest.mark.data
def test_in_the_second_pass_fewer_seats_are_free(shared_data: Path) -> None:
    path = shared_data / "ucsd" / "sp22_seat_changes.csv.gz"
    assert sum(open_seats(path, "second").values()) < sum(open_seats(path, "first").values())


def test_a_file_that_is_not_there_is_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(real_demand, "SHARED", tmp_path)
    assert data_file("itc2019/none.xml") is None


def test_what_was_shed_or_lost_is_sent_again() -> None:
    tallied = RetriedRequests(deque([(0, b"first"), (1, b"second")]))
    assert tallied.take() == (0, b"first")
    assert tallied.take() == (1, b"second")
    assert tallied.take() is None
    assert not tallied.exhausted
    tallied.answered(0, 503, b"{}")
    tallied.answered(1, 0, b"")
    assert [tallied.take(), tallied.take()] == [(0, b"first"), (1, b"second")]
    tallied.answered(0, 201, b'{"status":"enrolled"}')
    tallied.answered(1, 409, b'{"code":"credit_limit"}')
    assert tallied.exhausted
    assert (tallied.retries, tallied.outcomes) == (2, {"enrolled": 1, "credit_limit": 1})


def test_a_drop_ends_an_enrolment_of_its_section() -> None:
    changes = [
        real_demand.Change(0.0, "A", True),
        real_demand.Change(1.0, "B", False),
        real_demand.Change(2.0, "A", False),
    ]
    source = CurveSource(changes, "day", Ids({"day-0": "token"}, {"A": 7, "B": 8}), 1)
    taken = source.take()
    assert taken is not None
    assert b'{"section_id":7}' in taken[1]
    source.answered(taken[0], 201, b'{"id":42,"status":"enrolled"}')
    taken = source.take()  # nobody is in B
    assert taken is not None
    assert taken[1].startswith(b"DELETE /api/enrollments/42 ")
    assert source.drops_of_nobody == 1
    source.answered(taken[0], 200, b"{}")
    assert source.exhausted
