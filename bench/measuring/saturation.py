"""Saturation: the number of requests under way with which a contestant is fastest.

A server that commits batches gains from more requests under way; one that takes a lock for each request only queues
them, and breaks down when locks time out. So the number is found for each contestant, and each is measured at its best.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace
from typing import NamedTuple

from bench.measuring.options import Options

LADDER = (16, 64, 256, 1_024)
AS_GOOD = 0.9
"""Probes are short, so rates within this share of the best are taken as equal; the most requests under way win."""
PAST_ITS_BEST = 0.75
"""A contestant whose rate falls to this share of its best is not probed with more requests under way."""
ANSWER_MAX_S = 2.5
"""Nor is one that would take longer than this for one answer."""
PROBE_S = 1.0
PROBE_ANSWERS = 2
"""Answers on each connection in a probe, at least: where requests queue, the first answers come late and together."""
ROUND_ANSWERS = 3

RateProbe = Callable[[int, float, float], Awaitable[float]]
"""Loads with a number of connections for seconds of warm-up and of measurement; returns answers a second."""


class Pace(NamedTuple):
    """The saturation of a contestant under a workload.

    Args:
        connections: with which it is fastest.
        answer_s: how long one request takes then (Little's law).
        tried: answers a second by number of connections, as measured by the probes.
    """

    connections: int
    answer_s: float
    tried: Mapping[int, float]

    def of(self, options: Options) -> Options:
        """The options of a round at saturation: longer if answers take seconds, so that more than the first count."""
        return replace(
            options,
            connections=self.connections,
            seconds=max(options.seconds, ROUND_ANSWERS * self.answer_s),
            warmup_s=max(options.warmup_s, self.answer_s),
        )


async def find_pace(probe: RateProbe) -> Pace:
    """Probe with more and more requests under way until the rate falls or answers take too long."""
    tried: dict[int, float] = {}
    best_rate = 0.0
    for connections in LADDER:
        answer_s = connections / best_rate if best_rate else 0.0
        if answer_s > ANSWER_MAX_S:
            break
        rate = tried[connections] = await probe(connections, answer_s, max(PROBE_S, PROBE_ANSWERS * answer_s))
        best_rate = max(best_rate, rate)
        if rate < PAST_ITS_BEST * best_rate:
            break
    connections = max(one for one, rate in tried.items() if rate >= AS_GOOD * best_rate)
    return Pace(connections, connections / tried[connections] if best_rate else 0.0, tried)
