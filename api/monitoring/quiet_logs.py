"""What is not worth a line in the log."""

from __future__ import annotations

import logging

from aiohttp.http_exceptions import BadHttpMessage


def quiet_bad_requests() -> None:
    """Keep aiohttp from logging a stack trace for each request that is not HTTP.

    They are answered 400 whatever is logged. Anybody can send them, as fast as they like, with anything in them.
    """
    logging.getLogger("aiohttp.server").addFilter(_is_ours)


def _is_ours(record: logging.LogRecord) -> bool:
    kind = record.exc_info[0] if record.exc_info else None
    return kind is None or not issubclass(kind, BadHttpMessage)
