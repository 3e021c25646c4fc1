"""What Prometheus reads of this process."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Histogram, ProcessCollector, disable_created_metrics

disable_created_metrics()  # type: ignore[no-untyped-call]  # a second series for each counter, which nothing here reads

LATENCY_BUCKETS_S = (0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0)


class Metrics:
    """The counters of one application. Each has a registry of its own, so that tests can make many."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        self.requests = Counter(
            "seatline_http_requests",
            "Requests answered.",
            ["method", "route", "status"],
            registry=self.registry,
        )
        self.latency = Histogram(
            "seatline_http_request_seconds",
            "Time from the first byte of a request's header to the last of its answer's.",
            ["method", "route"],
            buckets=LATENCY_BUCKETS_S,
            registry=self.registry,
        )
        self.outcomes = Counter(
            "seatline_enrollment_outcomes",
            "Outcomes of enrolments and drops; of a refusal, its first reason.",
            ["code"],
            registry=self.registry,
        )
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
        # Looking a child up by its labels costs more than counting.
        self._requests: dict[tuple[str, str, int], Counter] = {}
        self._latencies: dict[tuple[str, str], Histogram] = {}

    def observe_request(self, method: str, route: str, status: int, seconds: float) -> None:
        """Count an answered request. ``route`` is the template, never the path: its values are bounded."""
        counter = self._requests.get((method, route, status))
        if counter is None:
            counter = self._requests[method, route, status] = self.requests.labels(method, route, str(status))
        counter.inc()
        histogram = self._latencies.get((method, route))
        if histogram is None:
            histogram = self._latencies[method, route] = self.latency.labels(method, route)
        histogram.observe(seconds)
