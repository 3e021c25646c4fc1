"""Rate limits that all processes share through Redis; while Redis is away, each process keeps its own."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import cast

from redis.commands.core import AsyncScript

from persistence.redis import gcra
from persistence.redis.breaker import TIMEOUT_S, RedisAwayError, RedisBreaker

BUCKETS_MAX = 100_000


class LocalRateLimiter:
    """Limits within this process."""

    def __init__(self, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._monotonic = monotonic
        self._tats: dict[str, float] = {}

    def hit(self, key: str, rate_per_s: float, burst: int) -> float | None:
        """Take one hit: None if it is allowed, else how many seconds to wait."""
        now = self._monotonic()
        tat, wait_s = gcra.hit(self._tats.get(key), now, rate_per_s, burst)
        if wait_s is None:
            if len(self._tats) >= BUCKETS_MAX:
                self._drop_idle_buckets(now)
            self._tats[key] = tat
        return wait_s

    def peek(self, key: str, rate_per_s: float, burst: int) -> float | None:
        """What a hit would be told, without taking it."""
        return gcra.peek(self._tats.get(key), self._monotonic(), rate_per_s, burst)

    def _drop_idle_buckets(self, now: float) -> None:
        # Buckets in the past are empty. If all are in use, somebody invents keys faster than they expire: start over.
        self._tats = {key: tat for key, tat in self._tats.items() if tat > now}
        if len(self._tats) >= BUCKETS_MAX:
            self._tats.clear()


class RedisRateLimiter:
    """Limits across processes, by the clock of Redis."""

    def __init__(self, redis_url: str, *, timeout_s: float = TIMEOUT_S) -> None:
        self._redis = RedisBreaker(redis_url, "shared rate limits", timeout_s=timeout_s)
        self._hit = self._redis.client.register_script(gcra.HIT_LUA)
        self._peek = self._redis.client.register_script(gcra.PEEK_LUA)
        self._local = LocalRateLimiter()

    async def hit(self, key: str, rate_per_s: float, burst: int) -> float | None:
        """Take one hit on the bucket ``key``.

        Returns:
            None if it is allowed, else how many seconds to wait.
        """
        try:
            return await self._run(self._hit, key, rate_per_s, burst)
        except RedisAwayError:
            return self._local.hit(key, rate_per_s, burst)

    async def peek(self, key: str, rate_per_s: float, burst: int) -> float | None:
        """What a hit on the bucket ``key`` would be told, without taking it."""
        try:
            return await self._run(self._peek, key, rate_per_s, burst)
        except RedisAwayError:
            return self._local.peek(key, rate_per_s, burst)

    async def _run(self, script: AsyncScript, key: str, rate_per_s: float, burst: int) -> float | None:
        args = [round(1_000_000 / rate_per_s), burst]
        wait_us = cast("int", await self._redis.call(lambda _: script(keys=[f"rate:{key}"], args=args)))
        return None if wait_us < 0 else wait_us / 1_000_000

    async def close(self) -> None:
        """Close the connections."""
        await self._redis.close()
