"""Random delays and faults, drawn from the seed."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Coroutine

from tests.simulation.plan import Fault, Plan

CHANCE_OF: dict[Fault, float] = {
    Fault.CALL_LOST: 0.08,
    Fault.CALL_LATE: 0.08,
    Fault.REPLY_LOST: 0.08,
    Fault.CALL_DOUBLED: 0.15,
    Fault.CLIENT_CUT: 0.08,
    Fault.POSTGRES_CUT: 0.02,
    Fault.COMMIT_LOST: 0.06,
    Fault.COMMIT_LATE: 0.06,
    Fault.VIEW_LATE: 0.3,
    Fault.CONTROLLER_KILLED: 0.4,
}
"""How likely each fault of a single message is, in a run that has it."""


class Chaos:
    """All randomness of a run, and the only judge of whether the storm still lasts."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.random = random.Random(plan.seed)
        self.is_over = False
        self.struck: dict[Fault, int] = dict.fromkeys(Fault, 0)
        self._tasks: dict[asyncio.Task[None], None] = {}

    def strikes(self, fault: Fault) -> bool:
        """Whether this message meets this fault."""
        if self.is_over or fault not in self.plan.faults or self.random.random() >= CHANCE_OF[fault]:
            return False
        self.struck[fault] += 1
        return True

    async def latency(self) -> None:
        """A message's way: mostly quick, sometimes not."""
        slow = self.random.random() < 0.03
        await asyncio.sleep(self.random.uniform(0.02, 0.3) if slow else self.random.uniform(0.0002, 0.004))

    def background(self, work: Coroutine[object, object, None]) -> None:
        """Something that happens at a server or on the wire, whoever started it."""
        task = asyncio.create_task(work)
        self._tasks[task] = None
        task.add_done_callback(self._done)

    def _done(self, task: asyncio.Task[None]) -> None:
        self._tasks.pop(task, None)
        if not task.cancelled():
            task.result()
