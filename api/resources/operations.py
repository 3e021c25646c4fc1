"""For operators: liveness, readiness and metrics."""

from __future__ import annotations

from hmac import compare_digest

from aiohttp import hdrs, web
from msgspec import Struct
from prometheus_client.exposition import CONTENT_TYPE_LATEST

from api.http import problems
from api.http.errors import ApiError
from api.http.replies import API_HEADERS, json_reply
from api.http.routing import Access, Answer, Route
from api.monitoring.metrics_page import METRICS_PAGE
from api.monitoring.readiness import READINESS, ReadyReply
from api.services import SERVICES


class HealthReply(Struct, frozen=True):
    """The process answers."""

    status: str = "ok"


async def show_health(_request: web.Request) -> web.Response:
    """Liveness. It probes nothing, so that no load balancer ends a process because the database is away."""
    return json_reply(HealthReply())


async def show_readiness(request: web.Request) -> web.Response:
    """Readiness: whether enrolments can be taken now. ``degraded`` is 200: they can, while something else is away.

    Where the metrics need a token, only who has it is told which dependency is away.
    """
    ready = await request.app[READINESS].check()
    status = 200 if ready.status in {"ok", "degraded"} else 503
    return json_reply(ready if _may_see_inside(request) else ReadyReply(ready.status, {}), status=status)


async def show_metrics(request: web.Request) -> web.Response:
    """Metrics of this process and of the section actors, as Prometheus text. They may need a token of their own."""
    if not _may_see_inside(request):
        raise ApiError(problems.UNAUTHENTICATED, headers={"WWW-Authenticate": "Bearer"})
    body = await request.app[METRICS_PAGE].text()
    return web.Response(
        body=body, headers={"Content-Type": CONTENT_TYPE_LATEST, "Cache-Control": "no-store", **API_HEADERS}
    )


def _may_see_inside(request: web.Request) -> bool:
    """Whether a request has the token of the metrics, or there is none."""
    token = request.app[SERVICES].config.metrics_token
    given = request.headers.get(hdrs.AUTHORIZATION, "")
    return token is None or compare_digest(given.encode("utf-8", "surrogateescape"), f"Bearer {token}".encode())


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
