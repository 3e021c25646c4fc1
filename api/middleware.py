"""The one middleware: names the request, maps its errors, counts it."""

from __future__ import annotations

import itertools
import logging
import os
import re
import time

import structlog
from aiohttp import web
from aiohttp.typedefs import Handler, Middleware

from api.errors import reply_to
from api.state import METRICS, READINESS, REQUEST_ID

log = structlog.get_logger(__name__)
_stdlib_log = logging.getLogger(__name__)  # structlog formats first and asks for the level afterwards

_sane_request_id = re.compile(r"[A-Za-z0-9._-]{1,64}").fullmatch
METHODS = frozenset({"GET", "HEAD", "POST", "PATCH", "DELETE", "OPTIONS"})
HSTS = "max-age=63072000; includeSubDomains"


def make_edge(*, is_production: bool, slow_request_s: float) -> Middleware:
    """The middleware, with its settings bound: it runs for every request."""
    prefix, numbers = os.urandom(6).hex(), itertools.count(1)

    @web.middleware
    async def edge(request: web.Request, handler: Handler) -> web.StreamResponse:
        started_at = time.perf_counter()
        given = request.headers.get("X-Request-Id")
        request_id = given if given and _sane_request_id(given) else f"{prefix}-{next(numbers)}"
        request[REQUEST_ID] = request_id
        response: web.StreamResponse
        try:
            response = await handler(request)
        except Exception as error:  # noqa: BLE001  # the map knows what to do with each
            response = reply_to(error, request)
        response.headers["X-Request-Id"] = request_id
        if is_production:
            response.headers["Strict-Transport-Security"] = HSTS
        if request.app[READINESS].is_draining:
            # So connections end with an answer, and no client finds one closed with its next request.
            response.force_close()
        _account_for(request, response, time.perf_counter() - started_at, slow_request_s)
        return response

    return edge


def _account_for(request: web.Request, response: web.StreamResponse, seconds: float, slow_s: float) -> None:
    route = _route_of(request)
    method = request.method if request.method in METHODS else "other"
    request.app[METRICS].traffic.observe(method, route, response.status, seconds)
    # One line per request would cost more than deciding it: only what is odd is said aloud.
    level = logging.WARNING if seconds > slow_s or response.status >= 500 else logging.DEBUG
    if not _stdlib_log.isEnabledFor(level):
        return
    log.log(
        level,
        "request",
        request_id=request[REQUEST_ID],
        method=method,
        route=route,
        status=response.status,
        milliseconds=round(seconds * 1000, 1),
    )


def _route_of(request: web.Request) -> str:
    resource = request.match_info.route.resource
    return resource.canonical if resource is not None else "unmatched"
