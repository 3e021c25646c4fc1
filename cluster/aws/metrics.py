"""Figures of a process for CloudWatch, once a minute, off every path that serves."""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable, Mapping, Sequence
from itertools import accumulate
from typing import Any, NamedTuple

from cluster.aws.clients import AwsClients
from cluster.aws.errors import AwsError

log = logging.getLogger(__name__)

SERVICE = "cloudwatch"
PERIOD_S = 60.0
DATA_MAX = 1000
"""Figures that CloudWatch takes in one call."""


class Distribution(NamedTuple):
    """Values by bucket since the start. ``counts`` are not cumulative; the last one is beyond the last bound."""

    bounds: tuple[float, ...] = ()
    counts: tuple[int, ...] = ()
    total: float = 0.0

    def since(self, before: Distribution) -> Distribution:
        """What has been added. A distribution that has become smaller began anew."""
        if before.bounds != self.bounds or any(a < b for a, b in zip(self.counts, before.counts, strict=True)):
            return self
        counts = tuple(a - b for a, b in zip(self.counts, before.counts, strict=True))
        return Distribution(self.bounds, counts, self.total - before.total)

    @property
    def size(self) -> int:
        """How many values there are."""
        return sum(self.counts)

    def percentile(self, percent: float) -> float:
        """The bound that so many values do not exceed; of what is beyond the last bound nothing more is known."""
        wanted = self.size * percent / 100
        sums = accumulate(self.counts[:-1])
        return next((bound for bound, count in zip(self.bounds, sums, strict=True) if count >= wanted), self.bounds[-1])


class Figures(NamedTuple):
    """What a process has done since its start, and what waits in it now."""

    enrolled: int
    waitlisted: int
    queue_depth: int
    latency_s: Distribution
    batch_size: Mapping[str, Distribution]
    """Of each section actor, by its name."""


class MetricsPublisher:
    """Sends them.

    Args:
        namespace, cluster: where they are found in CloudWatch; the latter is their one dimension.
        read: the figures as they are now.
    """

    def __init__(
        self, clients: AwsClients, namespace: str, cluster: str, read: Callable[[], Awaitable[Figures]]
    ) -> None:
        self._clients = clients
        self._namespace = namespace
        self._dimensions = [{"Name": "Cluster", "Value": cluster}]
        self._read = read
        self._before: Figures | None = None

    async def run(self, period_s: float = PERIOD_S) -> None:
        """Send every period until cancelled. What could not be sent is part of the next."""
        while True:
            try:
                await self.publish_once()
            except AwsError as error:
                log.warning("metrics: not sent: %s", error)
            except Exception as error:  # noqa: BLE001  (figures may fail in any way; the next minute has new ones)
                log.warning("metrics: no figures: %r", error)
            await asyncio.sleep(period_s * random.uniform(0.9, 1.1))  # noqa: S311  (spreads processes out)

    async def publish_once(self) -> int:
        """Send what has happened since the last time; the first time there is nothing to compare with.

        Returns:
            how many figures were sent.

        Raises:
            AwsError: if they were not.
        """
        now = await self._read()
        if self._before is None:
            self._before = now
            return 0
        data = [self._with_dimensions(one) for one in figures_between(self._before, now)]
        for start in range(0, len(data), DATA_MAX):
            await self._put(data[start : start + DATA_MAX])
        self._before = now
        return len(data)

    async def _put(self, data: Sequence[dict[str, Any]]) -> None:
        await self._clients.call(
            SERVICE, lambda client: client.put_metric_data(Namespace=self._namespace, MetricData=data)
        )

    def _with_dimensions(self, figure: dict[str, Any]) -> dict[str, Any]:
        return {**figure, "Dimensions": self._dimensions}


def figures_between(before: Figures, now: Figures) -> list[dict[str, Any]]:
    """What CloudWatch is told of the time between. Where nothing happened, there is no latency and no batch."""
    figures: list[dict[str, Any]] = [
        {"MetricName": "Enrollments", "Unit": "Count", "Value": max(0, now.enrolled - before.enrolled)},
        {"MetricName": "Waitlisted", "Unit": "Count", "Value": max(0, now.waitlisted - before.waitlisted)},
        {"MetricName": "QueueDepth", "Unit": "Count", "Value": now.queue_depth},
    ]
    latency = now.latency_s.since(before.latency_s)
    if latency.size:
        p99_ms = latency.percentile(99) * 1000
        figures.append({"MetricName": "EnrollmentP99", "Unit": "Milliseconds", "Value": p99_ms})
    batches = [one.since(before.batch_size.get(name, Distribution())) for name, one in now.batch_size.items()]
    turns = sum(one.size for one in batches)
    if turns:
        average = sum(one.total for one in batches) / turns
        figures.append({"MetricName": "BatchSize", "Unit": "Count", "Value": average})
    return figures
