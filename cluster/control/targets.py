"""What the load balancer is told: the address and port of every node whose API servers listen."""

from __future__ import annotations

import asyncio
import logging
from contextlib import suppress
from functools import partial

from cluster.control.chores import Chores
from cluster.control.ports import LoadBalancer

log = logging.getLogger(__name__)

WITHDRAW_S = 5.0


class Targets:
    """Brings the load balancer to what it should know; whatever fails is tried again."""

    def __init__(self, balancer: LoadBalancer, chores: Chores) -> None:
        self._balancer = balancer
        self._chores = chores
        self._registered: set[tuple[str, int]] = set()

    def bring_to(self, wanted: set[tuple[str, int]]) -> None:
        """These are to be told of, and no others. The last one is never taken back."""
        for target in sorted(wanted - self._registered):
            self._chores.begin(f"register {target[0]}:{target[1]}", partial(self._register, target))
        if wanted:
            for target in sorted(self._registered - wanted):
                self._chores.begin(f"deregister {target[0]}:{target[1]}", partial(self._deregister, target))

    async def withdraw(self) -> None:
        """Take back all of them: nobody will serve any more. Waits a moment, for requests that are on their way."""
        targets = sorted(self._registered)
        with suppress(TimeoutError):
            async with asyncio.timeout(WITHDRAW_S):
                results = await asyncio.gather(*map(self._deregister, targets), return_exceptions=True)
                for target, result in zip(targets, results, strict=True):
                    if isinstance(result, Exception):
                        log.warning("%s:%d stays with the load balancer: %s", *target, result)

    async def _register(self, target: tuple[str, int]) -> None:
        await self._balancer.register(*target)
        self._registered.add(target)

    async def _deregister(self, target: tuple[str, int]) -> None:
        await self._balancer.deregister(*target)
        self._registered.discard(target)
