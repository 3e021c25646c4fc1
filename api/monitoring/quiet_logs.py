"""Keeps out of the log what is not worth a line."""

from __future__ import annotations

import logging

from aiohttp.http_exceptions import BadHttpMessage


def quiet_bad_requests() -> None:
    """Keep aiohttp from logging a stack trace for each request that is not HTTP.

    Such requests are answered 400 all the same. Anybody can send them, fast, with anything in them.
    """
    logging.getLogger("aiohttp.server").addFilter(_is_ours)


def _is_ours(record: logging.LogRecord) -> bool:
    kind = record.exc_info[0] if record.exc_info else None
    return kind is None or not issubclass(kind, BadHttpMessage)
