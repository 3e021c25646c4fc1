"""What is kept of who reached for what: lines of the logger ``seatline.audit``, and rows that nobody can rewrite.

Users are named by their ids and never by name or email.
"""

from __future__ import annotations

import logging

import structlog
from aiohttp import web

from api.limits import LocalLimiter
from api.monitoring.answered import REQUEST_ID
from api.services import SERVICES
from api.signin.principals import PRINCIPAL

LOGGER = "seatline.audit"
LINES_PER_S = 1.0
LINES_BURST = 20
"""Lines on one kind of event from one user or address, so that whoever causes them does not fill the disk."""

AUDIT_LINES = web.AppKey("AUDIT_LINES", LocalLimiter)

log = structlog.get_logger(LOGGER)


async def record(request: web.Request, action: str, subject: str) -> None:
    """Keep what a user does: a line and a row. It comes first: without the row there is no answer and no effect."""
    user_id = request[PRINCIPAL].user_id
    log.info(action, subject=subject, user_id=user_id, request_id=request[REQUEST_ID])
    await request.app[SERVICES].audit.record(user_id, action, subject, request[REQUEST_ID])


def note(request: web.Request, action: str, user_id: int | None = None) -> None:
    """Keep what was refused at the door, by a line alone: a table that strangers can fill would be a way to harm us.

    Args:
        request: what was refused; its address stands in the line, since often nothing else is known of the sender.
        action: what was tried, and how it ended.
        user_id: whose account it was about, if that is known.
    """
    if request.app[AUDIT_LINES].hit((action, user_id or request.remote)) is None:
        log.warning(action, user_id=user_id, address=request.remote, request_id=request[REQUEST_ID])


def keep_audit_lines() -> None:
    """Have audit lines written whatever LOG_LEVEL says."""
    logging.getLogger(LOGGER).setLevel(logging.INFO)
