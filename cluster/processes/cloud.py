"""The cloud services of an API process, or their local substitutes: roster exports, and figures for CloudWatch."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, Any

from aiohttp import web

from api.monitoring.metrics import METRICS
from api.ports import RosterExports
from api.resources.enrollments import ENROLL_ROUTE
from cluster.config.settings import Environment, Settings
from persistence.exports.local import LocalExports

if TYPE_CHECKING:
    from cluster.aws.clients import AwsClients
    from cluster.aws.metrics import Distribution, Figures

CollectActors = Callable[[], Awaitable[Sequence[Mapping[str, Any]]]]


class Cloud:
    """The cloud services of one process. Without settings for AWS, nothing of it is imported or called.

    Args:
        closing: receives what must be closed.
    """

    def __init__(self, settings: Settings, closing: AsyncExitStack) -> None:
        self._settings = settings
        self._closing = closing
        self._made: AwsClients | None = None

    def exports(self) -> RosterExports | None:
        """Where rosters are exported to: S3, or the home directory; None in production without S3."""
        if self._settings.aws_exports_bucket is not None:
            from cluster.aws.exports import S3Exports  # noqa: PLC0415  (boto3 takes a moment to import)

            return S3Exports(self._clients(), self._settings.aws_exports_bucket)
        if self._settings.env is Environment.PRODUCTION:
            return None
        return LocalExports(self._settings.home.resolve() / "exports")

    def publish_metrics(self, app: web.Application, collect: CollectActors) -> None:
        """Send the figures of this process to CloudWatch, if that is configured, until everything is closed."""
        settings = self._settings
        if settings.aws_metrics_namespace is None:
            return
        from cluster.aws.metrics import MetricsPublisher  # noqa: PLC0415  (as above)

        async def read() -> Figures:
            return figures_of(app, await collect())

        publisher = MetricsPublisher(self._clients(), settings.aws_metrics_namespace, settings.aws_cluster_name, read)
        task = asyncio.create_task(publisher.run(), name="cloudwatch")

        async def stop() -> None:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task

        self._closing.push_async_callback(stop)

    def _clients(self) -> AwsClients:
        if self._made is None:
            from cluster.aws.clients import AwsClients, CallLimits  # noqa: PLC0415  (as above)

            # Whoever waits for an export is a request like any other.
            self._made = AwsClients.of(self._settings, CallLimits(deadline_s=self._settings.request_deadline_s))
            self._closing.callback(self._made.close)
        return self._made


def figures_of(app: web.Application, actors: Sequence[Mapping[str, Any]]) -> Figures:
    """Those figures of ``/metrics`` that are sent to CloudWatch."""
    from cluster.aws.metrics import Distribution, Figures  # noqa: PLC0415  (as above)

    traffic = app[METRICS].traffic
    latency = traffic.latencies.get(ENROLL_ROUTE.key)
    return Figures(
        enrolled=traffic.outcomes["enrolled"],
        waitlisted=traffic.outcomes["waitlisted"],
        queue_depth=sum(int(one["inbox"]) for one in actors),
        latency_s=Distribution() if latency is None else distribution_of(latency.as_dict()),
        batch_size={str(one["actor"]): distribution_of(one["batch_size"]) for one in actors},
    )


def distribution_of(histogram: Mapping[str, Any]) -> Distribution:
    """The distribution of a histogram of allocator/turns/stats.py."""
    from cluster.aws.metrics import Distribution  # noqa: PLC0415  (as above)

    return Distribution(tuple(histogram["bounds"]), tuple(histogram["counts"]), float(histogram["sum"]))
