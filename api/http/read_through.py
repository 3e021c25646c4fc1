"""Reads through the cache, and counts hits and misses."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TypeVar

from aiohttp import web

from api.monitoring.metrics import METRICS
from api.services import SERVICES

T = TypeVar("T")


async def read_through(
    request: web.Request,
    family: str,
    key: str,
    ttl_s: float,
    load: Callable[[], Awaitable[bytes]],
    decode: Callable[[bytes], T],
) -> T:
    """The cached value, else the loaded one, decoded.

    Args:
        request: the request that needs it.
        family: the key without its ids, as the metrics name it.
        key: of the cached value.
        ttl_s: for how many seconds a loaded value is cached.
        load: loads the value.
        decode: makes of the value what is returned. A cached value that it does not take is a miss.
    """
    result = "hit"

    async def counted_load() -> bytes:
        nonlocal result
        result = "miss"
        return await load()

    value = await request.app[SERVICES].cache.get_or_load(key, ttl_s, counted_load, decode)
    request.app[METRICS].cache_reads.labels(family, result).inc()
    return value


def checked(decode: Callable[[bytes], object]) -> Callable[[bytes], bytes]:
    """A ``decode`` for ``read_through`` that returns the bytes as they are, once the given one has taken them."""

    def check(value: bytes) -> bytes:
        decode(value)
        return value

    return check
