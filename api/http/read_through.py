"""Reads through the cache, and counts hits and misses."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from aiohttp import web

from api.monitoring.metrics import METRICS
from api.services import SERVICES


async def read_through(
    request: web.Request, family: str, key: str, ttl_s: float, load: Callable[[], Awaitable[bytes]]
) -> bytes:
    """The cached value, else the loaded one.

    Args:
        request: the request that needs it.
        family: the key without its ids, as the metrics name it.
        key: of the cached value.
        ttl_s: for how many seconds a loaded value is cached.
        load: loads the value.
    """
    result = "hit"

    async def counted_load() -> bytes:
        nonlocal result
        result = "miss"
        return await load()

    value = await request.app[SERVICES].cache.get_or_load(key, ttl_s, counted_load)
    request.app[METRICS].cache_reads.labels(family, result).inc()
    return value
