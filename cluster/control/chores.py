"""Work that takes longer than a look around: never the same twice at once, and after a failure not again at once."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine
from typing import Any

from cluster.control.ports import ClusterAwayError
from cluster.gateway.gateway import ActorLostError

log = logging.getLogger(__name__)

FAILURES = (ActorLostError, ClusterAwayError, OSError, TimeoutError)
"""What may become of any work with the cluster. It is begun again as long as it is needed."""

PAUSE_S = 1.0
PAUSE_MAX_S = 30.0


class Chores:
    """Tasks by key. Whoever needs one done says so at every look; what runs or has just failed is left alone."""

    def __init__(self, monotonic: Callable[[], float], done: Callable[[], None] = lambda: None) -> None:
        self._monotonic = monotonic
        self._done = done
        self._running: dict[str, asyncio.Task[None]] = {}
        self._failures: dict[str, int] = {}
        self._not_before: dict[str, float] = {}

    def begin(self, key: str, work: Callable[[], Coroutine[Any, Any, object]]) -> bool:
        """Do ``work``, unless it is being done or failed a moment ago; whether it was begun."""
        if key in self._running or self._monotonic() < self._not_before.get(key, 0.0):
            return False
        self._running[key] = asyncio.create_task(self._do(key, work), name=key)
        return True

    def is_running(self, key: str) -> bool:
        """Whether it is being done now."""
        return key in self._running

    def any_running(self, prefix: str) -> bool:
        """Whether anything of these keys is being done now."""
        return any(key.startswith(prefix) for key in self._running)

    async def idle(self) -> None:
        """Wait until nothing is being done."""
        while self._running:
            await asyncio.wait(set(self._running.values()))

    async def close(self) -> None:
        """Break off what is being done."""
        tasks = list(self._running.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _do(self, key: str, work: Callable[[], Coroutine[Any, Any, object]]) -> None:
        try:
            await work()
        except FAILURES as error:
            self._failed(key)
            log.warning("%s: %s", key, str(error) or type(error).__name__)
        except Exception:  # a bug in one chore may not end the others
            self._failed(key)
            log.exception("%s failed", key)
        else:
            self._failures.pop(key, None)
            self._not_before.pop(key, None)
        finally:
            del self._running[key]
            self._done()

    def _failed(self, key: str) -> None:
        failures = self._failures[key] = self._failures.get(key, 0) + 1
        self._not_before[key] = self._monotonic() + min(PAUSE_S * 2.0 ** min(failures - 1, 8), PAUSE_MAX_S)
