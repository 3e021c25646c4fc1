"""The middleware around every handler: gives the request an id, turns errors into answers, counts the request."""

from __future__ import annotations

import time

from aiohttp import web
from aiohttp.typedefs import Handler, Middleware

from api.http.errors import reply_to
from api.monitoring.answered import REQUEST_ID, REQUEST_ID_HEADER, WAS_SHED, RequestIds, note_answer
from api.monitoring.metrics import METRICS
from api.monitoring.readiness import READINESS

METHODS = frozenset({"GET", "HEAD", "POST", "PATCH", "DELETE", "OPTIONS"})
HSTS = "max-age=63072000; includeSubDomains"


def make_middleware(request_ids: RequestIds, *, is_production: bool, slow_request_s: float) -> Middleware:
    """The middleware. Its settings are bound to it, since it runs for every request.

    Args:
        request_ids: gives each request its id.
        is_production: whether to promise HTTPS for ever.
        slow_request_s: how long a request may take without a warning in the log.
    """

    @web.middleware
    async def around(request: web.Request, handler: Handler) -> web.StreamResponse:
        started_at = time.perf_counter()
        request_id = request_ids.of(request.headers)
        request[REQUEST_ID] = request_id
        response: web.StreamResponse
        try:
            response = await handler(request)
        except Exception as error:  # noqa: BLE001  # the map knows what to do with each
            response = reply_to(error, request)
        response.headers[REQUEST_ID_HEADER] = request_id
        if is_production:
            response.headers["Strict-Transport-Security"] = HSTS
        if request.app[READINESS].is_draining:
            # So connections end with an answer, and no client finds one closed with its next request.
            response.force_close()
        _account_for(request, response, time.perf_counter() - started_at, slow_request_s)
        return response

    return around


def _account_for(request: web.Request, response: web.StreamResponse, seconds: float, slow_s: float) -> None:
    method = request.method if request.method in METHODS else "other"
    traffic = request.app[METRICS].traffic
    if response.status >= 500 and WAS_SHED in request:
        traffic.observe(method, _route_of(request), response.status, seconds)
        return
    note_answer(traffic, method, _route_of(request), response.status, seconds, request[REQUEST_ID], slow_s)


def _route_of(request: web.Request) -> str:
    resource = request.match_info.route.resource
    return resource.canonical if resource is not None else "unmatched"
