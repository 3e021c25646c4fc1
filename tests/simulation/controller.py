"""The controller: changes the owners of sections during a run, by publishing views and handing sections over."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence
from typing import Any

from cluster.config.settings import Placement
from cluster.gateway.directory import DEDICATED_PREFIX, DirectoryView, moves, owner_in
from cluster.gateway.errors import ActorLostError
from cluster.gateway.handover import hand_over
from tests.simulation.chaos import Chaos
from tests.simulation.cluster import Cluster, SimulatedActor
from tests.simulation.plan import Fault

DYING_S = 0.2
"""Within this time after the first step of a handover the controller dies, if it dies."""
VIEW_LATE_S = 2.0
DRAINED_S = 0.5
"""From an actor's stop to its end: calls that were under way to it still get their answers."""
PORTION = 2
CALL_TIMEOUT_S = 3.0


class SimulatedController:
    """Does one thing after the other. If it dies, a new one goes on from the view that was published last."""

    def __init__(self, chaos: Chaos, cluster: Cluster, trace: Callable[[str], None]) -> None:
        self._chaos = chaos
        self._cluster = cluster
        self._trace = trace
        self._at_work = asyncio.Lock()

    async def change_members(self) -> None:
        """Some pooled actors, other than now, share the sections; for a moment perhaps none."""
        random, names = self._chaos.random, self._cluster.names
        async with self._at_work:
            if random.random() < 0.2:
                self._publish(pooled=())
                await asyncio.sleep(random.uniform(0.05, 1.0))
            members = tuple(sorted(random.sample(names, random.randint(1, len(names)))))
            leaving = [name for name in names if name not in members]
            for name in members:
                self._cluster.ensure_actor(name)
            pins = {one: name for one, name in self._cluster.view.pins.items() if name not in leaving}
            await self._move(self._publish(pooled=members, pins=pins))
            for name in leaving:
                await self._drain(name)

    async def pin(self) -> None:
        """A section gets an actor of its own, or one of the others; later it goes back."""
        random = self._chaos.random
        section_id = random.randint(1, self._chaos.plan.sections)
        owner = random.choice([f"{DEDICATED_PREFIX}{section_id}", random.choice(self._cluster.names)])
        async with self._at_work:
            self._cluster.ensure_actor(owner)
            await self._move(self._publish(pins={**self._cluster.view.pins, section_id: owner}))
        await asyncio.sleep(random.uniform(0.2, 5.0))
        async with self._at_work:
            pins = {one: name for one, name in self._cluster.view.pins.items() if one != section_id}
            await self._move(self._publish(pins=pins))
            if owner.startswith(DEDICATED_PREFIX):
                await self._drain(owner)

    async def mend(self) -> None:
        """All actors live and share the sections, and everybody knows."""
        async with self._at_work:
            for name in self._cluster.names:
                self._cluster.ensure_actor(name)
            await self._move(self._publish(pooled=self._cluster.names, pins={}))

    def _publish(self, **changes: Any) -> tuple[DirectoryView, DirectoryView]:
        """Tell every API process, some of them late. Gives the view before and after."""
        old = self._cluster.view
        values = {"pooled": old.pooled, "pins": old.pins, **changes}
        new = self._cluster.view = DirectoryView(old.version + 1, Placement.AUTO, **values)
        self._trace(f"the controller publishes {new}")
        for index in range(len(self._cluster.apis)):
            late = self._chaos.strikes(Fault.VIEW_LATE)
            self._chaos.background(self._tell(index, new, VIEW_LATE_S if late else 0.01))
        return old, new

    async def _tell(self, index: int, view: DirectoryView, within_s: float) -> None:
        await asyncio.sleep(self._chaos.random.uniform(0.0, within_s))
        self._cluster.apis[index].go_by(view)

    async def _move(self, views: tuple[DirectoryView, DirectoryView]) -> None:
        by_owner: dict[str, dict[int, str]] = {}
        section_ids = range(1, self._chaos.plan.sections + 1)
        for section_id, new in moves(*views, section_ids).items():
            old = owner_in(views[0], section_id)
            for name in self._cluster.names if old is None else (old,):
                by_owner.setdefault(name, {})[section_id] = new
        work = hand_over(by_owner, self._hand_over, self._take, portion=PORTION, timeout_s=CALL_TIMEOUT_S)
        if by_owner and self._chaos.strikes(Fault.CONTROLLER_KILLED):
            await self._break_off(work)
        else:
            done = await work
            silent = sorted(done.silent)  # as a set its order would differ from run to run
            self._trace(f"the controller moved {by_owner}: {done.handed} let go, {done.taken} taken, {silent} silent")

    async def _break_off(self, work: Coroutine[Any, Any, object]) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self._chaos.random.uniform(0.0, DYING_S)):
                await work
        self._trace("the controller has died")

    async def _drain(self, name: str) -> None:
        """The actor leaves: it lets everything go, answers what still comes, and ends."""
        actor = self._cluster.actors.get(name)
        if actor is None or actor.process.is_dead:
            return
        with contextlib.suppress(ActorLostError, TimeoutError):
            async with asyncio.timeout(CALL_TIMEOUT_S):
                await self._cluster.control(name, SimulatedActor.stop)
        await asyncio.sleep(DRAINED_S)
        actor.kill()

    def _hand_over(self, name: str, moving: Mapping[int, str]) -> Awaitable[int]:
        return self._cluster.control(name, lambda actor: actor.hand_over(dict(moving)))

    def _take(self, name: str, section_ids: Sequence[int]) -> Awaitable[int]:
        return self._cluster.control(name, lambda actor: actor.take(section_ids))
