"""The targets of the load balancer: the address and port of every node whose API servers listen."""

from __future__ import annotations

import asyncio
import logging
from functools import partial

from cluster.control.background_tasks import FAILURES, BackgroundTasks
from cluster.control.ports import LoadBalancer

log = logging.getLogger(__name__)


class Targets:
    """Reconciles the targets of the load balancer. A call that fails is made again."""

    def __init__(self, balancer: LoadBalancer, tasks: BackgroundTasks) -> None:
        self._balancer = balancer
        self._tasks = tasks
        self._registered: set[tuple[str, int]] = set()
        self._attempted: set[tuple[str, int]] = set()

    def reconcile(self, wanted: set[tuple[str, int]]) -> None:
        """Register these targets, and deregister all others. If none is wanted, those that there are stay."""
        for target in sorted(wanted - self._registered):
            self._tasks.begin(f"register {target[0]}:{target[1]}", partial(self._register, target))
        if wanted:
            for target in sorted(self._registered - wanted):
                self._tasks.begin(f"deregister {target[0]}:{target[1]}", partial(self._deregister, target))

    async def withdraw(self, timeout_s: float) -> None:
        """Deregister all targets, since nobody will listen any more; also those whose registration got no answer."""
        try:
            async with asyncio.timeout(timeout_s):
                await asyncio.gather(*(self._deregister_or_log(target) for target in sorted(self._attempted)))
        except TimeoutError:
            log.warning("the load balancer was not done with %d targets in %.0f s", len(self._attempted), timeout_s)

    async def _deregister_or_log(self, target: tuple[str, int]) -> None:
        try:
            await self._deregister(target)
        except FAILURES as error:
            log.warning("deregister %s:%d: %s", *target, str(error) or type(error).__name__)

    async def _register(self, target: tuple[str, int]) -> None:
        self._attempted.add(target)
        await self._balancer.register(*target)
        self._registered.add(target)

    async def _deregister(self, target: tuple[str, int]) -> None:
        await self._balancer.deregister(*target)
        self._registered.discard(target)
        self._attempted.discard(target)
