"""The arithmetic of rate limits."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from persistence.redis import gcra
from persistence.redis.rate_limit import BUCKETS_MAX, LocalRateLimiter


def test_a_burst_then_the_rate() -> None:
    tat = None
    for _ in range(3):
        tat, wait_s = gcra.hit(tat, 100.0, rate_per_s=2, burst=3)
        assert wait_s is None
    tat, wait_s = gcra.hit(tat, 100.0, rate_per_s=2, burst=3)
    assert wait_s == pytest.approx(0.5)
    tat, wait_s = gcra.hit(tat, 100.5, rate_per_s=2, burst=3)
    assert wait_s is None


def test_a_refused_hit_costs_nothing() -> None:
    tat, _ = gcra.hit(None, 0.0, rate_per_s=1, burst=1)
    for _ in range(10):
        assert gcra.hit(tat, 0.5, rate_per_s=1, burst=1) == (1.0, 0.5)


@given(
    gaps=st.lists(st.floats(0, 5), min_size=1, max_size=100),
    rate=st.floats(0.1, 50),
    burst=st.integers(1, 20),
)
def test_never_more_than_burst_plus_rate(gaps: list[float], rate: float, burst: int) -> None:
    now, tat = 0.0, None
    allowed = 0
    for gap in gaps:
        now += gap
        tat, wait_s = gcra.hit(tat, now, rate, burst)
        allowed += wait_s is None
    assert allowed <= burst + now * rate + 1e-6


@given(gaps=st.lists(st.floats(0, 1), min_size=1, max_size=50), rate=st.floats(0.5, 20), burst=st.integers(1, 5))
def test_waiting_as_told_is_enough(gaps: list[float], rate: float, burst: int) -> None:
    now, tat = 0.0, None
    for gap in gaps:
        now += gap
        tat, wait_s = gcra.hit(tat, now, rate, burst)
        if wait_s is not None:
            now += wait_s + 1e-6
            tat, wait_s = gcra.hit(tat, now, rate, burst)
            assert wait_s is None


def test_buckets_do_not_grow_for_ever() -> None:
    now = [0.0]
    limiter = LocalRateLimiter(lambda: now[0])
    for number in range(BUCKETS_MAX):
        assert limiter.hit(f"key {number}", 1, 1) is None
    assert limiter.hit("key 0", 1, 1) is not None
    now[0] = 10.0
    assert limiter.hit("another", 1, 1) is None
    assert len(limiter._tats) == 1
