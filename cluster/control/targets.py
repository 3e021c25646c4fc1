"""What the load balancer is told: the address and port of every node whose API servers listen."""

from __future__ import annotations

import asyncio
import logging
from functools import partial

from cluster.control.chores import FAILURES, Chores
from cluster.control.ports import LoadBalancer

log = logging.getLogger(__name__)


class Targets:
    """Brings the load balancer to what it should know; whatever fails is tried again."""

    def __init__(self, balancer: LoadBalancer, chores: Chores) -> None:
        self._balancer = balancer
        self._chores = chores
        self._registered: set[tuple[str, int]] = set()
        self._told: set[tuple[str, int]] = set()

    def bring_to(self, wanted: set[tuple[str, int]]) -> None:
        """These are to be told of, and no others. The last one is not taken back before the end."""
        for target in sorted(wanted - self._registered):
            self._chores.begin(f"register {target[0]}:{target[1]}", partial(self._register, target))
        if wanted:
            for target in sorted(self._registered - wanted):
                self._chores.begin(f"deregister {target[0]}:{target[1]}", partial(self._deregister, target))

    async def withdraw(self, timeout_s: float) -> None:
        """Nobody will listen any more: take all of them back, those too of which it may have heard."""
        try:
            async with asyncio.timeout(timeout_s):
                await asyncio.gather(*(self._take_back(target) for target in sorted(self._told)))
        except TimeoutError:
            log.warning("the load balancer was not done with %d targets in %.0f s", len(self._told), timeout_s)

    async def _take_back(self, target: tuple[str, int]) -> None:
        try:
            await self._deregister(target)
        except FAILURES as error:
            log.warning("deregister %s:%d: %s", *target, str(error) or type(error).__name__)

    async def _register(self, target: tuple[str, int]) -> None:
        self._told.add(target)
        await self._balancer.register(*target)
        self._registered.add(target)

    async def _deregister(self, target: tuple[str, int]) -> None:
        await self._balancer.deregister(*target)
        self._registered.discard(target)
        self._told.discard(target)
