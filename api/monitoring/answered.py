"""Accounts for requests: an id for each, and its metrics and perhaps a line in the log once it is answered."""

from __future__ import annotations

import itertools
import logging
import os
import re
from collections.abc import Mapping

import structlog
from aiohttp import web
from multidict import istr

from api.monitoring.metrics import Traffic

log = structlog.get_logger(__name__)
_stdlib_log = logging.getLogger(__name__)  # structlog formats first and asks for the level afterwards

REQUEST_ID_HEADER = istr("X-Request-Id")

CLIENTS_DOING = frozenset({408, 499})
"""Statuses of requests that were slow because their clients were, or that their clients left: not worth a line, and
anybody can cause as many as they like."""

_is_sane = re.compile(r"[A-Za-z0-9._-]{1,64}").fullmatch


class RequestIds:
    """Gives out request ids. A client's own id is kept if it is sane; all others are numbered."""

    def __init__(self) -> None:
        self._prefix = os.urandom(6).hex()
        self._numbers = itertools.count(1)

    def of(self, headers: Mapping[str, str]) -> str:
        """The id of the request with these headers."""
        given = headers.get(REQUEST_ID_HEADER)
        return given if given and _is_sane(given) else f"{self._prefix}-{next(self._numbers)}"


REQUEST_IDS = web.AppKey("REQUEST_IDS", RequestIds)
REQUEST_ID = web.RequestKey("REQUEST_ID", str)
WAS_SHED = web.RequestKey("WAS_SHED", bool)
"""Set on a request that is refused for lack of room, which is counted and not worth a line in the log."""


def note_answer(
    traffic: Traffic, method: str, route: str, status: int, seconds: float, request_id: str, slow_s: float
) -> None:
    """Count an answer, and log it if it was slow or a failure.

    Args:
        route: the template of the path.
        seconds: how long the answer took.
        slow_s: how long it may take without a warning.
    """
    traffic.observe(method, route, status, seconds)
    # One line per request would cost more than deciding it.
    is_ours = (seconds > slow_s and status not in CLIENTS_DOING) or status >= 500
    level = logging.WARNING if is_ours else logging.DEBUG
    if not _stdlib_log.isEnabledFor(level):
        return
    if is_ours and traffic.lines.hit((method, route, status)) is not None:
        return  # the metrics have it
    log.log(
        level,
        "request",
        request_id=request_id,
        method=method,
        route=route,
        status=status,
        milliseconds=round(seconds * 1000, 1),
    )
