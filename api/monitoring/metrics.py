"""The metrics of this process."""

from __future__ import annotations

from collections import Counter as Tally
from collections import defaultdict
from collections.abc import Iterable
from functools import partial
from itertools import accumulate

from aiohttp import web
from prometheus_client import CollectorRegistry, Counter, ProcessCollector, disable_created_metrics
from prometheus_client.core import CounterMetricFamily, HistogramMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from allocator.turns.stats import Histogram
from api.limits import LocalLimiter

LATENCY_BUCKETS_S = (0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0)

LINES_PER_S = 1.0
LINES_BURST = 20
"""How many lines in the log slow and failed requests of one route and status may cause: strangers can send them."""

disable_created_metrics()  # type: ignore[no-untyped-call]  # a second series for each counter, which nothing here reads


class Traffic(Collector):
    """The figures that are counted for every request, in plain dicts.

    They are counted in one thread, so they need none of the locks of ``prometheus_client``, which would cost as much as
    reading a body.
    """

    def __init__(self) -> None:
        self.lines = LocalLimiter(LINES_PER_S, LINES_BURST)
        self.requests: Tally[tuple[str, str, int]] = Tally()
        self.latencies: defaultdict[tuple[str, str], Histogram] = defaultdict(partial(Histogram, LATENCY_BUCKETS_S))
        self.outcomes: Tally[str] = Tally()

    def observe(self, method: str, route: str, status: int, seconds: float) -> None:
        """Count an answered request. ``route`` is the template of the path, so that its values are bounded."""
        self.requests[method, route, status] += 1
        self.latencies[method, route].observe(seconds)

    def collect(self) -> Iterable[Metric]:
        """The figures as they are now."""
        requests = CounterMetricFamily(
            "seatline_http_requests", "Requests answered.", labels=["method", "route", "status"]
        )
        for (method, route, status), count in self.requests.items():
            requests.add_metric([method, route, str(status)], count)
        latency = HistogramMetricFamily(
            "seatline_http_request_seconds", "Time to answer a request.", labels=["method", "route"]
        )
        bounds = [*map(str, LATENCY_BUCKETS_S), "+Inf"]
        for (method, route), histogram in self.latencies.items():
            buckets = list(zip(bounds, accumulate(histogram.counts), strict=True))
            latency.add_metric([method, route], buckets, histogram.total)
        outcomes = CounterMetricFamily(
            "seatline_enrollment_outcomes",
            "Outcomes of enrolments and drops; of a refusal, its first reason.",
            labels=["code"],
        )
        for code, count in self.outcomes.items():
            outcomes.add_metric([code], count)
        return [requests, latency, outcomes]


class Metrics:
    """The metrics of one application, in a registry of their own, so that tests can make many."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        self.traffic = Traffic()
        self.registry.register(self.traffic)
        self.rate_limited = Counter(
            "seatline_rate_limited", "Requests refused by a rate limit.", ["limit"], registry=self.registry
        )
        self.auth_failures = Counter(
            "seatline_auth_failures",
            "Tokens, logins and refreshes refused, by reason.",
            ["reason"],
            registry=self.registry,
        )
        self.cache_reads = Counter(
            "seatline_cache_reads", "Reads through the cache.", ["family", "result"], registry=self.registry
        )


METRICS = web.AppKey("METRICS", Metrics)
