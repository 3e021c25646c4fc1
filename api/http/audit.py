"""The audit log: lines of the logger ``seatline.audit``, and rows that nobody can rewrite.

Users are named by their ids and never by name or email.
"""

from __future__ import annotations

import logging

import structlog
from aiohttp import web

from api.limits import LocalLimiter, network_of
from api.monitoring.answered import REQUEST_ID
from api.services import SERVICES
from api.signin.principals import PRINCIPAL

LOGGER = "seatline.audit"
LINES_PER_S = 1.0
LINES_BURST = 20
"""How many lines one user or address may cause about one kind of event, so that nobody can fill the disk."""

AUDIT_LINES = web.AppKey("AUDIT_LINES", LocalLimiter)

log = structlog.get_logger(LOGGER)


async def record(request: web.Request, action: str, subject: str) -> None:
    """Write a line and a row about what a user does. Call it first: without a row there is no answer and no effect."""
    user_id = request[PRINCIPAL].user_id
    log.info(action, subject=subject, user_id=user_id, request_id=request[REQUEST_ID])
    await request.app[SERVICES].audit.record(user_id, action, subject, request[REQUEST_ID])


def note(request: web.Request, action: str, user_id: int | None = None) -> None:
    """Write a line about a request that was refused. There is no row, since strangers could fill the table.

    Args:
        request: the request. Its address is in the line, since often nothing else is known of the sender.
        action: what was tried, and how it ended.
        user_id: whose account it was about, if known.
    """
    if request.app[AUDIT_LINES].hit((action, user_id or network_of(request.remote))) is None:
        log.warning(action, user_id=user_id, address=request.remote, request_id=request[REQUEST_ID])


def keep_audit_lines() -> None:
    """Write audit lines whatever LOG_LEVEL says."""
    logging.getLogger(LOGGER).setLevel(logging.INFO)
