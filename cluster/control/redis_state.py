"""The memory of the controller, in Redis."""

from __future__ import annotations

import logging
from collections.abc import Collection
from contextlib import suppress
from typing import Any

import msgspec
from redis.asyncio import Redis

from cluster.control.model import Remembered
from persistence.redis.breaker import RedisAwayError, RedisBreaker
from persistence.redis.lease import DEAD_S, dead_key

log = logging.getLogger(__name__)

KEY = "seatline:controller"
TIMEOUT_S = 0.5


class RedisState:
    """Implements ``cluster.control.ports.StateStore``."""

    def __init__(self, redis_url: str) -> None:
        self._redis = RedisBreaker(redis_url, "the controller's memory", timeout_s=TIMEOUT_S, connections_max=2)

    async def load(self) -> Remembered | None:
        """See ``StateStore``. None as well if what was saved cannot be read."""
        kept: Any = None
        with suppress(RedisAwayError):
            kept = await self._redis.call(lambda redis: redis.get(KEY))
        if kept is None:
            return None
        try:
            return msgspec.json.decode(kept, type=Remembered)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            log.warning("what an earlier controller saved cannot be read: %s", error)
            return None

    async def save(self, state: Remembered) -> None:
        """See ``StateStore``."""
        with suppress(RedisAwayError):
            await self._redis.call(lambda redis: redis.set(KEY, msgspec.json.encode(state)))

    async def bury(self, actors: Collection[str]) -> None:
        """See ``StateStore``."""

        async def tell(redis: Redis) -> None:
            async with redis.pipeline(transaction=False) as calls:
                for actor in actors:
                    calls.set(dead_key(actor), b"1", ex=DEAD_S)
                await calls.execute()

        if actors:
            with suppress(RedisAwayError):
                await self._redis.call(tell)

    async def close(self) -> None:
        """Close all connections."""
        await self._redis.close()
