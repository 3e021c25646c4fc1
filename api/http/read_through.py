"""Reading through the cache, with its hits counted."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from aiohttp import web

from api.monitoring.metrics import METRICS
from api.services import SERVICES


async def read_through(
    request: web.Request, family: str, key: str, ttl_s: float, load: Callable[[], Awaitable[bytes]]
) -> bytes:
    """What is cached under ``key``, else what ``load`` gives.

    ``family`` is the key without its ids: what the metrics are by.
    """
    result = "hit"

    async def counted_load() -> bytes:
        nonlocal result
        result = "miss"
        return await load()

    value = await request.app[SERVICES].cache.get_or_load(key, ttl_s, counted_load)
    request.app[METRICS].cache_reads.labels(family, result).inc()
    return value
