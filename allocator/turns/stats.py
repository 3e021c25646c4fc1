"""Counters of one drain loop, plain numbers that any metrics system can read."""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field

from allocator.model.events import Event, PromotionBlocked, StudentPromoted

SECONDS_BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5)
SIZE_BUCKETS = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000)


class Histogram:
    """Counts by bucket. ``bounds`` are inclusive upper limits; one more bucket takes what is beyond the last."""

    def __init__(self, bounds: tuple[float, ...]) -> None:
        self.bounds = bounds
        self.counts = [0] * (len(bounds) + 1)
        self.total = 0.0

    def observe(self, value: float) -> None:
        """Count one value."""
        self.counts[bisect_left(self.bounds, value)] += 1
        self.total += value

    def as_dict(self) -> dict[str, object]:
        """Bounds, counts by bucket (not cumulative) and the sum of all values."""
        return {"bounds": list(self.bounds), "counts": self.counts.copy(), "sum": self.total}


@dataclass(slots=True)
class ServiceStats:
    """What a drain loop has done since it started."""

    outcomes: Counter[str] = field(default_factory=Counter)
    turns: int = 0
    activations: int = 0
    passivations: int = 0
    handed_over: int = 0
    promotions: int = 0
    blocked_promotions: int = 0
    deferrals: int = 0
    stale_commits: int = 0
    unknown_commits: int = 0
    busy_turns: int = 0
    rejected_turns: int = 0
    failed_turns: int = 0
    batch_size: Histogram = field(default_factory=lambda: Histogram(SIZE_BUCKETS))
    turn_s: Histogram = field(default_factory=lambda: Histogram(SECONDS_BUCKETS))
    commit_s: Histogram = field(default_factory=lambda: Histogram(SECONDS_BUCKETS))

    def count_promotions(self, events: Iterable[Event]) -> None:
        """Count the promotions among committed events, given and refused."""
        for event in events:
            self.promotions += isinstance(event, StudentPromoted)
            self.blocked_promotions += isinstance(event, PromotionBlocked)

    def as_dict(self) -> dict[str, object]:
        """Numbers, and dicts of numbers for outcomes and histograms."""
        return {
            "turns_total": self.turns,
            "activations_total": self.activations,
            "passivations_total": self.passivations,
            "handed_over_total": self.handed_over,
            "promotions_total": self.promotions,
            "blocked_promotions_total": self.blocked_promotions,
            "deferrals_total": self.deferrals,
            "stale_commits_total": self.stale_commits,
            "unknown_commits_total": self.unknown_commits,
            "busy_turns_total": self.busy_turns,
            "rejected_turns_total": self.rejected_turns,
            "failed_turns_total": self.failed_turns,
            "outcomes": dict(self.outcomes),
            "batch_size": self.batch_size.as_dict(),
            "turn_s": self.turn_s.as_dict(),
            "commit_s": self.commit_s.as_dict(),
        }
