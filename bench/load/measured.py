"""Measurements of a load: counts, latencies, and the CPU time of the load generator itself."""

from __future__ import annotations

from array import array
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field

import orjson
from hdrh.histogram import HdrHistogram

HIGHEST_US = 600_000_000
DIGITS = 3
PERCENTILES = (50.0, 90.0, 95.0, 99.0, 99.9)

SHED = frozenset({"overloaded", "unavailable", "rate_limited", "http_429", "http_503"})
"""Codes of answers that ask to try again later: nothing was changed."""

DECIDED = frozenset({"enrolled", "waitlisted", "ok"})


@dataclass(slots=True)
class Measured:
    """Counts of the window after the warm-up.

    Args:
        seconds: length of the window; shorter than requested if the requests ran out.
        outcomes: answers in the window, by code.
        latencies_s, reads_s: of all answers in the window; reads (GET) apart.
        outcomes_outside: answers before and after the window.
        offered: requests that were due in the window (open loop) or sent in it (closed loop).
        unsent: requests that were due, but found no free connection until the end.
        cpu_s, wall_s: of the load generator.
    """

    seconds: float
    outcomes: Counter[str] = field(default_factory=Counter)
    latencies_s: array[float] = field(default_factory=lambda: array("d"))
    reads_s: array[float] = field(default_factory=lambda: array("d"))
    outcomes_outside: Counter[str] = field(default_factory=Counter)
    offered: int = 0
    unsent: int = 0
    cpu_s: float = 0.0
    wall_s: float = 0.0

    @property
    def answers(self) -> int:
        """Answers in the window."""
        return self.outcomes.total()

    @property
    def enrolled_per_s(self) -> float:
        """Durable enrolments a second."""
        return self.outcomes["enrolled"] / self.seconds if self.seconds else 0.0

    @property
    def achieved_per_s(self) -> float:
        """Answers a second that were neither shed nor failed."""
        return (self.answers - self.shed - self.failed) / self.seconds if self.seconds else 0.0

    @property
    def shed(self) -> int:
        """Answers in the window that ask to try again later."""
        return sum(count for code, count in self.outcomes.items() if code in SHED)

    @property
    def failed(self) -> int:
        """Requests in the window without an answer, or with one that is a failure of the server."""
        return sum(count for code, count in self.outcomes.items() if is_failure(code))

    @property
    def cpu_share(self) -> float:
        """The part of one core that the load generator used."""
        return self.cpu_s / self.wall_s if self.wall_s else 0.0

    @property
    def everything(self) -> int:
        """Answers in the window and outside."""
        return self.answers + self.outcomes_outside.total()

    def as_json(self) -> dict[str, object]:
        """The figures of one round."""
        writes, reads = histogram(self.latencies_s), histogram(self.reads_s)
        client_us = self.cpu_s / self.everything * 1e6 if self.everything else 0.0
        return {
            "seconds": round(self.seconds, 3),
            "offered_per_s": round((self.offered + self.unsent) / self.seconds, 1) if self.seconds else 0.0,
            "achieved_per_s": round(self.achieved_per_s, 1),
            "enrolled_per_s": round(self.enrolled_per_s, 1),
            "shed": self.shed,
            "failed": self.failed,
            "unsent": self.unsent,
            "outcomes": dict(self.outcomes.most_common()),
            "outcomes_outside": dict(self.outcomes_outside.most_common()),
            "latency_ms": percentiles_ms(writes),
            "read_latency_ms": percentiles_ms(reads),
            "latency_hdr": encoded(writes),
            "client": {"cpu_share": round(self.cpu_share, 3), "cpu_us_per_request": round(client_us, 1)},
        }


def outcome_of(status: int, body: bytes) -> str:
    """An answer as one code: ``enrolled``, ``waitlisted``, ``ok`` for all else that went well, or a problem's code."""
    if status == 201:
        return "enrolled" if b'"enrolled"' in body else "waitlisted"
    if status in {200, 304}:
        return "ok"
    if status == 0:
        return "no_answer"
    try:
        return str(orjson.loads(body)["code"])
    except (ValueError, KeyError, TypeError):
        return f"http_{status}"


def is_failure(code: str) -> bool:
    """Whether a code stands for a failure of the server."""
    return code in {"no_answer", "outcome_unknown", "internal_error"} or (
        code.startswith("http_5") and code not in SHED
    )


def histogram(latencies_s: Iterable[float]) -> HdrHistogram:
    """Latencies as an HdrHistogram in microseconds. Made after the load, so that it costs the load no time."""
    made = HdrHistogram(1, HIGHEST_US, DIGITS)
    for latency_s in latencies_s:
        made.record_value(min(HIGHEST_US, max(1, round(latency_s * 1e6))))
    return made


def merged(encodings: Iterable[str]) -> HdrHistogram:
    """The histograms of several rounds as one."""
    made = HdrHistogram(1, HIGHEST_US, DIGITS)
    for text in encodings:
        if text:
            made.add(HdrHistogram.decode(text.encode("ascii")))
    return made


def encoded(made: HdrHistogram) -> str:
    """A histogram as text: any HdrHistogram library reads it. Empty if nothing was recorded."""
    return made.encode().decode("ascii") if made.total_count else ""


def percentiles_ms(made: HdrHistogram) -> dict[str, float]:
    """p50 to p99.9 and the maximum, in milliseconds; empty if nothing was recorded."""
    if not made.total_count:
        return {}
    found = {f"p{one:g}": made.get_value_at_percentile(one) / 1000 for one in PERCENTILES}
    return {**found, "max": made.get_max_value() / 1000}
