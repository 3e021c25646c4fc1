"""A Redis client behind a circuit breaker. Nothing here depends on Redis, so a call may fail at any time.

Every call has a short timeout. After a failure no call is made for a while, which grows with each further failure, so
that a Redis that is away or slow costs nothing; then single calls are let through to see whether it is back.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import TypeVar

from redis.asyncio import BlockingConnectionPool, Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError

from persistence.circuit_breaker import Breaker

T = TypeVar("T")

TIMEOUT_S = 0.1
PAUSE_MIN_S = 0.1
PAUSE_MAX_S = 2.0


class RedisAwayError(Exception):
    """Redis was not asked, did not answer in time, or answered with an error."""


class RedisBreaker:
    """A Redis client behind a circuit breaker.

    Args:
        redis_url: where Redis is.
        purpose: what this client is used for, for the log.
        timeout_s: the longest that one call may take, connecting included.
        connections_max: of its pool.
    """

    def __init__(
        self,
        redis_url: str,
        purpose: str,
        *,
        timeout_s: float = TIMEOUT_S,
        connections_max: int = 16,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        pool = BlockingConnectionPool.from_url(
            redis_url,
            max_connections=connections_max,
            timeout=timeout_s,
            socket_timeout=None,  # the deadline of the whole call is in `call`
            socket_connect_timeout=timeout_s,
            retry=Retry(NoBackoff(), 0),
            # No HELLO and CLIENT SETINFO: the first call on a new connection must meet the timeout too.
            protocol=2,
            driver_info=None,
        )
        self.client: Redis = Redis(connection_pool=pool)
        self._purpose = purpose
        self._timeout_s = timeout_s
        self._breaker = Breaker("Redis", purpose, pause_min_s=PAUSE_MIN_S, pause_max_s=PAUSE_MAX_S, monotonic=monotonic)

    @property
    def is_away(self) -> bool:
        """Whether the last call failed."""
        return self._breaker.is_away

    async def call(self, work: Callable[[Redis], Awaitable[T]]) -> T:
        """Run ``work`` with the client.

        Raises:
            RedisAwayError: at once while the breaker is open, else after the timeout at the latest.
        """
        is_probe = self._breaker.is_away
        if not self._breaker.lets_through(self._timeout_s):
            raise RedisAwayError(self._purpose)
        try:
            async with asyncio.timeout(self._timeout_s):
                answer = await work(self.client)
        except (RedisError, OSError, TimeoutError) as error:
            self._breaker.failed(error, is_probe=is_probe)
            raise RedisAwayError(self._purpose) from error
        self._breaker.succeeded()
        return answer

    async def close(self) -> None:
        """Close all connections."""
        await self.client.aclose()
        await self.client.connection_pool.disconnect()
