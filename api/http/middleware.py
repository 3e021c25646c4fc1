"""The middleware around every handler: gives the request an id, turns errors into answers, counts the request."""

from __future__ import annotations

import re
import time

from aiohttp import HttpVersion10, HttpVersion11, hdrs, web
from aiohttp.typedefs import Handler, Middleware

from api.http import problems
from api.http.errors import ApiError, reply_to
from api.http.replies import API_HEADERS
from api.monitoring.answered import REQUEST_ID, REQUEST_ID_HEADER, WAS_SHED, RequestIds, note_answer
from api.monitoring.metrics import METRICS
from api.monitoring.readiness import READINESS

METHODS = frozenset({"GET", "HEAD", "POST", "PATCH", "DELETE", "OPTIONS"})
_encoded_unreserved = re.compile("%(?:2[DE]|3[0-9]|[46][1-9A-F]|[57][0-9A]|5F|7E)", re.IGNORECASE).search
"""A letter, a digit, ``-``, ``.``, ``_`` or ``~`` as a percent-encoded byte."""
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
            if request.version is not HttpVersion11 or "%" in request.raw_path:
                _require_one_meaning(request)
            response = await handler(request)
        except Exception as error:  # noqa: BLE001  # the map knows what to do with each
            response = reply_to(error, request)
        response.headers[REQUEST_ID_HEADER] = request_id
        if hdrs.SERVER not in response.headers:
            response.headers.update(API_HEADERS)  # it is none of ours: a preflight
        if is_production:
            response.headers["Strict-Transport-Security"] = HSTS
        if request.app[READINESS].is_draining or not _is_spoken(request):
            # So connections end with an answer, and no client finds one closed with its next request.
            response.force_close()
        _account_for(request, response, time.perf_counter() - started_at, slow_request_s)
        return response

    return around


def _is_spoken(request: web.Request) -> bool:
    return request.version is HttpVersion11 or request.version in (HttpVersion10, HttpVersion11)


def _require_one_meaning(request: web.Request) -> None:
    """Refuse what a proxy before us may read in another way than we do, and so let through what it should not.

    Raises:
        ApiError: 400, if the request is of a version below HTTP/1.0 or above 1.1, or if its path has a character
            percent-encoded that need not be (RFC 3986, 2.3): ``/%6detrics`` is ``/metrics`` to a router, and not to
            every rule that looks at paths.
    """
    if not _is_spoken(request):
        raise ApiError(problems.BAD_REQUEST, "Only versions 1.0 and 1.1 of HTTP are spoken here.")
    if _encoded_unreserved(request.raw_path.partition("?")[0]):
        raise ApiError(problems.BAD_REQUEST, "Letters, digits and -._~ of a path must not be percent-encoded.")


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
