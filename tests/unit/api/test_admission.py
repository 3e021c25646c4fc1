"""Admission: requests in flight and answers to shed requests, with a clock that the test controls."""

from __future__ import annotations

import pytest

from api.edge.admission import LIMIT_FLOOR, WINDOW_S, Admission
from api.edge.framing import read_frame
from api.edge.shed_budget import BURST, PER_DECISION, PER_S, ShedBudget


class Clock:
    def __init__(self) -> None:
        self.at = 0.0

    def __call__(self) -> float:
        return self.at


def serve(admission: Admission, clock: Clock, took_s: float, seconds: float) -> None:
    """Keep it full for so long, with answers that take ``took_s``."""
    until = clock.at + seconds
    while clock.at < until:
        entered = []
        while admission.has_room():
            entered.append(admission.enter())
        clock.at += took_s
        for one in entered:
            admission.leave(one, was_decided=True)


def test_a_rush_is_let_in_up_to_the_bound_and_no_further() -> None:
    admission = Admission(100, 0.25, now=Clock())
    for _ in range(100):
        assert admission.has_room()
        admission.enter()
    assert not admission.has_room()


def test_while_a_queue_stands_fewer_are_let_in_and_more_again_when_it_does_not() -> None:
    clock = Clock()
    admission = Admission(1000, 0.25, now=clock)
    serve(admission, clock, took_s=1.0, seconds=4.0)
    assert LIMIT_FLOOR <= admission.limit <= 100
    serve(admission, clock, took_s=0.02, seconds=5.0)
    assert admission.limit == 1000


def test_never_fewer_than_the_floor() -> None:
    clock = Clock()
    admission = Admission(1000, 0.25, now=clock)
    serve(admission, clock, took_s=5.0, seconds=50.0)
    assert admission.limit == LIMIT_FLOOR


def test_one_slow_answer_is_no_queue() -> None:
    clock = Clock()
    admission = Admission(1000, 0.25, now=clock)
    for took_s in (5.0, 0.01):
        entered = clock.at - took_s
        admission.enter()
        clock.at += WINDOW_S / 2
        admission.leave(entered, was_decided=True)
    assert admission.limit == 1000


def test_answers_that_waited_for_no_decision_say_nothing_of_the_queue() -> None:
    clock = Clock()
    admission = Admission(1000, 0.25, now=clock)
    for was_decided in (True, False, True):
        entered = admission.enter() - (1.0 if was_decided else 0.0)
        clock.at += WINDOW_S / 2
        admission.leave(entered, was_decided=was_decided)
    assert admission.limit < 1000, "a 401 at once does not make a queue short"


def spend(budget: ShedBudget) -> int:
    """Take all that there is."""
    return sum(budget.take() for _ in range(100_000))


def test_the_budget_for_turning_away_follows_decisions() -> None:
    clock = Clock()
    budget = ShedBudget(now=clock)
    assert spend(budget) == BURST
    for _ in range(100):
        budget.decided()
    assert spend(budget) == 100 * PER_DECISION
    clock.at += 1.0
    for _ in range(10_000):
        clock.at += 0.0001
        budget.decided()
        if clock.at < 1.5:
            budget.take()
    assert spend(budget) == BURST, "never more than that at once"


def test_where_little_is_decided_the_budget_follows_time() -> None:
    clock = Clock()
    budget = ShedBudget(now=clock)
    spend(budget)
    clock.at += 0.2
    assert spend(budget) == pytest.approx(PER_S * 0.2, abs=1)
    for _ in range(50):
        budget.decided()
    clock.at += 0.2
    assert spend(budget) == pytest.approx(PER_S * 0.2, abs=2), "decisions count towards it, not on top"
    for _ in range(1_000_000):
        budget.decided()
    clock.at += 60.0
    spend(budget)
    clock.at += 0.2
    assert spend(budget) == pytest.approx(PER_S * 0.2, abs=1), "a busy hour is no reason to be silent after it"


@pytest.mark.parametrize(
    ("request_bytes", "length"),
    [
        (b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", 27),
        (b"POST / HTTP/1.1\r\nCONTENT-LENGTH: 5\r\n\r\nab", 43),
        (b"POST / HTTP/1.1\r\ncontent-length:5\r\nConnection: keep-alive\r\n\r\n", 66),
    ],
)
def test_the_end_of_a_plain_request_is_known(request_bytes: bytes, length: int) -> None:
    frame = read_frame(request_bytes)
    assert frame is not None
    assert frame.length == length


@pytest.mark.parametrize(
    "doubtful",
    [
        b"",
        b"POST / HTTP/1.1\r\nHost: x\r\n",
        b"\r\nPOST / HTTP/1.1\r\n\r\n",
        b"POST / HTTP/1.1\r\nContent-Length: 5\r\nContent-Length: 5\r\n\r\n",
        b"POST / HTTP/1.1\r\nContent-Length : 5\r\n\r\n",
        b"POST / HTTP/1.1\r\nX: a\nContent-Length: 5\r\n\r\n",
        b"POST / HTTP/1.1\r\nContent-Length: +5\r\n\r\n",
        b"POST / HTTP/1.1\r\nContent-Length: 5, 5\r\n\r\n",
        b"POST / HTTP/1.1\r\nContent-Length:\r\n 5\r\n\r\n",
        b"POST / HTTP/1.1\r\nContent-Length: 99999999\r\n\r\n",
        b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n",
        b"POST / HTTP/1.1\r\nConnection: close\r\n\r\n",
        b"GET / HTTP/1.1\r\nUpgrade: websocket\r\n\r\n",
        b"CONNECT x:1 HTTP/1.1\r\n\r\n",
    ],
)
def test_whatever_could_be_read_in_two_ways_is_not_read(doubtful: bytes) -> None:
    assert read_frame(doubtful) is None
