"""Sends figures of a process to CloudWatch, once a minute. No request waits for it."""

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
"""How many figures CloudWatch accepts in one call."""


class Distribution(NamedTuple):
    """A histogram since the start. ``counts`` are not cumulative; the last one is for values above the last bound."""

    bounds: tuple[float, ...] = ()
    counts: tuple[int, ...] = ()
    total: float = 0.0

    def since(self, before: Distribution) -> Distribution:
        """What has been added since ``before``. If the counts have become smaller, the process has restarted."""
        if before.bounds != self.bounds or any(a < b for a, b in zip(self.counts, before.counts, strict=True)):
            return self
        counts = tuple(a - b for a, b in zip(self.counts, before.counts, strict=True))
        return Distribution(self.bounds, counts, self.total - before.total)

    @property
    def size(self) -> int:
        """How many values there are."""
        return sum(self.counts)

    def percentile(self, percent: float) -> float:
        """The upper bound of the bucket with this percentile; the last bound if it is above that."""
        wanted = self.size * percent / 100
        sums = accumulate(self.counts[:-1])
        return next((bound for bound, count in zip(self.bounds, sums, strict=True) if count >= wanted), self.bounds[-1])


class Figures(NamedTuple):
    """Counts of a process since its start, and its present queue."""

    enrolled: int
    waitlisted: int
    queue_depth: int
    latency_s: Distribution
    batch_size: Mapping[str, Distribution]
    """By the names of the section actors."""


class MetricsPublisher:
    """Sends the figures.

    Args:
        namespace: of CloudWatch.
        cluster: value of the only dimension.
        read: returns the present figures.
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
        """Send them every period until cancelled. What could not be sent is part of the next period."""
        while True:
            try:
                await self.publish_once()
            except AwsError as error:
                log.warning("metrics: not sent: %s", error)
            except Exception as error:  # noqa: BLE001  (figures may fail in any way; the next minute has new ones)
                log.warning("metrics: no figures: %r", error)
            await asyncio.sleep(period_s * random.uniform(0.9, 1.1))  # noqa: S311  (spreads processes out)

    async def publish_once(self) -> int:
        """Send the difference to the last time. The first call sends nothing.

        Returns:
            how many figures were sent.

        Raises:
            AwsError: if they could not be sent.
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
    """The figures for the time in between. Latency and batch size are left out if nothing happened."""
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
