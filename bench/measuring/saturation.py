"""How many requests a contestant has under way when it is quickest.

Who commits a batch at a time gains from everybody else who waits; who takes a lock for each only queues, and breaks
down where locks time out. So "saturation" is another number for each of them, and each is measured at its own best.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace
from typing import NamedTuple

from bench.measuring.options import Options

LADDER = (16, 64, 256, 1_024)
AS_GOOD = 0.9
"""Probes are short: those that differ by less do not differ, and of those the one with the most requests counts."""
PAST_ITS_BEST = 0.75
"""Who falls to this part of its best rate with more requests under way is not asked to take still more."""
ANSWER_MAX_S = 2.5
"""Nor is who would take longer than this for one answer: nobody would call that its best."""
PROBE_S = 1.0
PROBE_ANSWERS = 2
"""At least so many on each connection in a probe: where requests take turns, the first come late, all at once."""
ROUND_ANSWERS = 3

RateProbe = Callable[[int, float, float], Awaitable[float]]
"""Load with so many connections, for so many seconds of warm-up and of measurement: answers a second."""


class Pace(NamedTuple):
    """Args:
    connections: with which a contestant is quickest.
    answer_s: how long one request takes then (Little's law).
    tried: answers a second by the number of connections, as the probes saw them.
    """

    connections: int
    answer_s: float
    tried: Mapping[int, float]

    def of(self, options: Options) -> Options:
        """A round at this pace: longer for who takes seconds to answer, so that more than the first answers count."""
        return replace(
            options,
            connections=self.connections,
            seconds=max(options.seconds, ROUND_ANSWERS * self.answer_s),
            warmup_s=max(options.warmup_s, self.answer_s),
        )


async def find_pace(probe: RateProbe) -> Pace:
    """Try more and more requests under way until that makes it slower, or too slow to wait for."""
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
