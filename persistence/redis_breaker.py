"""Redis as what it is here, a hint: asked quickly, or not at all.

Every call has a short timeout. After a failure no call is tried for a while that grows with each further failure, so
that a Redis that is away or slow costs nothing; then one call at a time is let through to see whether it is back.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from typing import TypeVar

from redis.asyncio import BlockingConnectionPool, Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError

T = TypeVar("T")

log = logging.getLogger(__name__)

TIMEOUT_S = 0.1
PAUSE_MIN_S = 0.1
PAUSE_MAX_S = 2.0


class RedisAwayError(Exception):
    """Redis was not asked, did not answer in time, or answered with an error."""


class RedisBreaker:
    """A Redis client behind a circuit breaker.

    Args:
        redis_url: where Redis is.
        purpose: what it is used for here, for the log.
        timeout_s: the longest that one call may take, connecting included.
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
            # No greetings: a fresh connection must answer within the timeout too.
            protocol=2,
            driver_info=None,
        )
        self.client: Redis = Redis(connection_pool=pool)
        self._purpose = purpose
        self._timeout_s = timeout_s
        self._monotonic = monotonic
        self._pause_s = 0.0
        self._closed_until = 0.0

    @property
    def is_away(self) -> bool:
        """Whether the last call failed."""
        return self._pause_s > 0

    async def call(self, work: Callable[[Redis], Awaitable[T]]) -> T:
        """Do ``work`` with the client.

        Raises:
            RedisAwayError: at once while the breaker is open, else after the timeout at the latest.
        """
        now = self._monotonic()
        is_probe = self.is_away
        if is_probe:
            if now < self._closed_until:
                raise RedisAwayError(self._purpose)
            # Whoever comes while it runs is turned away.
            self._closed_until = now + self._timeout_s + PAUSE_MIN_S
        try:
            async with asyncio.timeout(self._timeout_s):
                answer = await work(self.client)
        except (RedisError, OSError, TimeoutError) as error:
            self._failed(error, is_probe)
            raise RedisAwayError(self._purpose) from error
        self._succeeded()
        return answer

    async def close(self) -> None:
        """Close all connections."""
        await self.client.aclose()
        await self.client.connection_pool.disconnect()

    def _failed(self, error: Exception, is_probe: bool) -> None:
        if self.is_away and not is_probe:
            return  # it was under way when another one failed: the same failure, not a further one
        if not self.is_away:
            # Once per outage: what follows is the same news.
            log.warning("Redis is away, going on without %s: %s", self._purpose, str(error) or type(error).__name__)
        self._pause_s = min(max(self._pause_s * 2, PAUSE_MIN_S), PAUSE_MAX_S)
        self._closed_until = self._monotonic() + self._pause_s

    def _succeeded(self) -> None:
        if self.is_away:
            log.info("Redis is back: %s", self._purpose)
        self._pause_s = 0.0
