"""The page of `/metrics`: the metrics of this process and of the section actors, as Prometheus text."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping, Sequence

import structlog
from aiohttp import web
from prometheus_client import CollectorRegistry, generate_latest

from api.monitoring.actor_metrics import ActorCollector
from api.ports import CollectActorStats

STATS_TIMEOUT_S = 1.0
REMEMBERED_S = 1.0

log = structlog.get_logger(__name__)


class MetricsPage:
    """Makes the page, at most once in ``REMEMBERED_S`` seconds.

    To make it asks all section actors and takes milliseconds of this process, so a flood of scrapes would be a load.

    Args:
        registry: the metrics of this process.
        collect_actor_stats: asks the section actors for their figures.
    """

    def __init__(self, registry: CollectorRegistry, collect_actor_stats: CollectActorStats) -> None:
        self._registry = registry
        self._collect_actor_stats = collect_actor_stats
        self._making: asyncio.Task[bytes] | None = None
        self._made_at = float("-inf")

    async def text(self) -> bytes:
        """The page as it is now, or was a moment ago."""
        now = time.monotonic()
        if self._making is None or (self._making.done() and now - self._made_at > REMEMBERED_S):
            self._made_at = now
            self._making = asyncio.create_task(self._make())
        return await asyncio.shield(self._making)

    async def _make(self) -> bytes:
        actors = CollectorRegistry()
        actors.register(ActorCollector(await self._actor_stats()))
        return generate_latest(self._registry) + generate_latest(actors)

    async def _actor_stats(self) -> Sequence[Mapping[str, object]]:
        """The figures that the actors give in time; none if they fail, since our own matter most just then."""
        try:
            async with asyncio.timeout(STATS_TIMEOUT_S):
                return await self._collect_actor_stats()
        except Exception as error:  # noqa: BLE001  # see above
            log.warning("no figures from the section actors", error=type(error).__name__)
            return ()


METRICS_PAGE = web.AppKey("METRICS_PAGE", MetricsPage)
