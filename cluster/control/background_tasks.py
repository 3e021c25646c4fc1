"""Work that takes longer than one pass of the controller: never the same task twice at once, with backoff."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine
from typing import Any

from cluster.control.ports import ClusterAwayError
from cluster.gateway.errors import ActorLostError

log = logging.getLogger(__name__)

FAILURES = (ActorLostError, ClusterAwayError, OSError, TimeoutError)
"""How any call to the cluster may fail. The next pass of the controller decides whether to try again."""

PAUSE_S = 1.0
PAUSE_MAX_S = 30.0


class BackgroundTasks:
    """Tasks by key.

    ``begin`` is called at every pass while a task is needed. It does nothing while the task runs, and for a pause after
    it has failed; the pause doubles with each failure in a row.

    Args:
        monotonic: seconds that never go back.
        done: called whenever a task has ended, in whatever way.
    """

    def __init__(self, monotonic: Callable[[], float], done: Callable[[], None] = lambda: None) -> None:
        self._monotonic = monotonic
        self._done = done
        self._running: dict[str, asyncio.Task[None]] = {}
        self._failures: dict[str, int] = {}
        self._not_before: dict[str, float] = {}

    def begin(self, key: str, work: Callable[[], Coroutine[Any, Any, object]]) -> bool:
        """Start ``work`` in the background, unless it runs already or failed a moment ago.

        Returns:
            whether it was started.
        """
        if key in self._running or self._monotonic() < self._not_before.get(key, 0.0):
            return False
        self._running[key] = asyncio.create_task(self._run(key, work), name=key)
        return True

    def is_running(self, key: str) -> bool:
        """Whether the task of this key is running."""
        return key in self._running

    async def idle(self) -> None:
        """Wait until no task is running."""
        while self._running:
            await asyncio.wait(set(self._running.values()))

    async def close(self) -> None:
        """Cancel all tasks."""
        tasks = list(self._running.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _run(self, key: str, work: Callable[[], Coroutine[Any, Any, object]]) -> None:
        try:
            await work()
        except FAILURES as error:
            self._failed(key)
            log.warning("%s: %s", key, str(error) or type(error).__name__)
        except Exception:  # a bug in one task may not end the others
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
