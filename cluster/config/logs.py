"""Structured logs: one JSON object per line on standard error, for all loggers of the process."""

from __future__ import annotations

import logging
import sys
from datetime import UTC, datetime

import orjson


class JsonFormatter(logging.Formatter):
    """Formats a record as a line of JSON. JSON escapes control characters, so one event always is one line."""

    def format(self, record: logging.LogRecord) -> str:
        """The line. A structlog event arrives as a dict in ``record.msg``."""
        fields: dict[str, object] = {
            "timestamp": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
        }
        if isinstance(record.msg, dict):
            fields.update(record.msg)
        else:
            fields["event"] = record.getMessage()
        if record.exc_info:
            fields["exception"] = self.formatException(record.exc_info)
        return orjson.dumps(fields, default=str).decode()


def configure_logging(level: str) -> None:
    """Write all logs of this process as JSON.

    Args:
        level: a level of ``logging``, such as ``INFO``.
    """
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonFormatter())
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(level.upper())


def configure_structlog() -> None:
    """Make structlog pass its events to ``logging``. It is slow to import, so section actors do without it."""
    import structlog  # noqa: PLC0415

    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            structlog.contextvars.merge_contextvars,
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=True,
    )
