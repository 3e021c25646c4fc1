"""For operators: liveness, readiness and metrics."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence

import structlog
from aiohttp import web
from msgspec import Struct
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_LATEST

from api.http.replies import SECURITY_HEADERS, json_reply
from api.http.routing import Access, Answer, Route
from api.monitoring.actor_metrics import ActorCollector
from api.monitoring.metrics import METRICS
from api.monitoring.readiness import READINESS, ReadyReply
from api.services import SERVICES

STATS_TIMEOUT_S = 1.0

log = structlog.get_logger(__name__)


class HealthReply(Struct, frozen=True):
    """The process answers."""

    status: str = "ok"


async def show_health(_request: web.Request) -> web.Response:
    """Liveness. It probes nothing, so that no load balancer ends a process because the database is away."""
    return json_reply(HealthReply())


async def show_readiness(request: web.Request) -> web.Response:
    """Readiness: whether enrolments can be taken now. ``degraded`` is 200: they can, while something else is away."""
    ready = await request.app[READINESS].check()
    return json_reply(ready, status=200 if ready.status in {"ok", "degraded"} else 503)


async def show_metrics(request: web.Request) -> web.Response:
    """Metrics of this process and of the section actors, as Prometheus text."""
    actors = CollectorRegistry()
    actors.register(ActorCollector(await _actor_stats(request)))
    body = generate_latest(request.app[METRICS].registry) + generate_latest(actors)
    return web.Response(
        body=body, headers={"Content-Type": CONTENT_TYPE_LATEST, "Cache-Control": "no-store", **SECURITY_HEADERS}
    )


async def _actor_stats(request: web.Request) -> Sequence[Mapping[str, object]]:
    """The figures that the actors give in time; none if they fail, since our own matter most just then."""
    try:
        async with asyncio.timeout(STATS_TIMEOUT_S):
            return await request.app[SERVICES].collect_actor_stats()
    except Exception as error:  # noqa: BLE001  # see above
        log.warning("no figures from the section actors", error=type(error).__name__)
        return ()


ROUTES = (
    Route(
        "GET",
        "/health",
        show_health,
        "Operations",
        Access.PUBLIC,
        {200: Answer("Alive.", HealthReply)},
        needs_store=False,
    ),
    Route(
        "GET",
        "/ready",
        show_readiness,
        "Operations",
        Access.PUBLIC,
        {200: Answer("Ready, perhaps degraded.", ReadyReply), 503: Answer("Not ready.", ReadyReply)},
        needs_store=False,
    ),
    Route(
        "GET",
        "/metrics",
        show_metrics,
        "Operations",
        Access.PUBLIC,
        {200: Answer("Prometheus text.", media_type="text/plain")},
        needs_store=False,
    ),
)
