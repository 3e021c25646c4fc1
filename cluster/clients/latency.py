"""Summaries of latencies."""

from __future__ import annotations

from collections.abc import Iterable

PERCENTILES = (50.0, 95.0, 99.0, 99.9)


def summary_ms(latencies_s: Iterable[float]) -> dict[str, float]:
    """Percentiles and the maximum in milliseconds, exact (nearest rank). Empty without samples."""
    ordered = sorted(latencies_s)
    if not ordered:
        return {}
    found = {f"p{percentile:g}": ordered[_rank(percentile, len(ordered))] for percentile in PERCENTILES}
    found["max"] = ordered[-1]
    return {name: round(seconds * 1000, 3) for name, seconds in found.items()}


def _rank(percentile: float, count: int) -> int:
    return min(count - 1, max(0, -int(-percentile * count // 100) - 1))
