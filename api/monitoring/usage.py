"""How busy this process is, as the controller is told."""

from __future__ import annotations

import time
from itertools import accumulate

from api.monitoring.metrics import LATENCY_BUCKETS_S, Traffic

WINDOW_S = 0.5
P99 = 0.99


class Usage:
    """Measures how busy the process was since the last measurement, which is at least half a second ago.

    Args:
        route: method and path of the route whose latency counts, as the metrics name it.
    """

    def __init__(self, route: tuple[str, str]) -> None:
        self._route = route
        self._at = time.monotonic()
        self._cpu_s = time.process_time()
        self._requests = 0
        self._latencies = [0] * (len(LATENCY_BUCKETS_S) + 1)
        self._last = (0.0, 0.0, 0.0)

    def read(self, traffic: Traffic | None) -> tuple[float, float, float]:
        """How busy the process was.

        Returns:
            The share of a CPU; requests a second; the 99th percentile of the route's latency in ms, 0 without any.
        """
        now, cpu_s = time.monotonic(), time.process_time()
        passed_s = now - self._at
        if passed_s < WINDOW_S or traffic is None:
            return self._last
        requests = traffic.requests.total()
        counts = list(traffic.latencies[self._route].counts)
        p99_ms = quantile_ms([new - old for new, old in zip(counts, self._latencies, strict=True)], P99)
        self._last = (min((cpu_s - self._cpu_s) / passed_s, 1.0), (requests - self._requests) / passed_s, p99_ms)
        self._at, self._cpu_s, self._requests, self._latencies = now, cpu_s, requests, counts
        return self._last


def quantile_ms(counts: list[int], quantile: float) -> float:
    """The upper bound of the bucket in which a quantile lies."""
    total = sum(counts)
    if not total:
        return 0.0
    for bound_s, reached in zip(LATENCY_BUCKETS_S, accumulate(counts), strict=False):
        if reached >= quantile * total:
            return bound_s * 1000
    return LATENCY_BUCKETS_S[-1] * 1000
