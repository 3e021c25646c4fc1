"""Faults of processes and services during a run, and their repair at its end."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Coroutine
from typing import Any

from cluster.config.settings import Placement
from cluster.gateway.directory import DirectoryView
from tests.simulation.chaos import Chaos
from tests.simulation.cluster import LEASE_TTL_MS, Cluster
from tests.simulation.controller import SimulatedController
from tests.simulation.plan import Fault
from tests.simulation.process import ProcessDiedError

Trace = Callable[[str], None]

LEASE_S = LEASE_TTL_MS / 1000
RESTART_S = (0.1, 4.0)


class Storm:
    """Strikes one after the other, some at once."""

    def __init__(self, chaos: Chaos, cluster: Cluster, trace: Trace) -> None:
        self._chaos = chaos
        self._cluster = cluster
        self._trace = trace
        self._controller = SimulatedController(chaos, cluster, trace)
        self._strikes: dict[Fault, Callable[[], Coroutine[Any, Any, None]]] = {
            Fault.PARTITION: self._partition,
            Fault.ACTOR_KILLED: self._kill_actor,
            Fault.ACTOR_PAUSED: self._pause_actor,
            Fault.ACTOR_ZOMBIE: self._replace_paused_actor,
            Fault.SECTIONS_RELEASED: self._release_sections,
            Fault.API_KILLED: self._kill_api,
            Fault.MEMBERS_DIFFER: self._give_other_members,
            Fault.MEMBERS_CHANGE: self._controller.change_members,
            Fault.PINNED: self._controller.pin,
            Fault.POSTGRES_KILLED: self._kill_postgres,
            Fault.REDIS_AWAY: self._stop_redis,
            Fault.REDIS_FLUSHED: self._flush_redis,
            Fault.CLOCK_JUMP: self._jump_clock,
        }

    async def rage(self) -> None:
        """Until the storm is over. On return everything is mended."""
        possible = [fault for fault in self._chaos.plan.faults if fault in self._strikes]
        random = self._chaos.random
        ends_at = asyncio.get_running_loop().time() + self._chaos.plan.storm_s
        async with asyncio.TaskGroup() as strikes:
            while asyncio.get_running_loop().time() < ends_at:
                await asyncio.sleep(random.expovariate(1.0))
                if possible:
                    fault = random.choice(possible)
                    self._chaos.struck[fault] += 1
                    self._trace(f"fault: {fault.value}")
                    strikes.create_task(self._strikes[fault]())
        self._chaos.is_over = True
        await self._controller.mend()
        self._trace("the storm is over")

    def _some(self, choices: list[str]) -> str:
        return self._chaos.random.choice(choices)

    async def _for_a_while(self, low_s: float, high_s: float) -> None:
        await asyncio.sleep(self._chaos.random.uniform(low_s, high_s))

    async def _partition(self) -> None:
        api = self._chaos.random.choice(self._cluster.apis)
        api.cut_off(self._some(list(self._cluster.actors)))
        await self._for_a_while(0.5, 6.0)
        api.reconnect()

    async def _kill_actor(self) -> None:
        name = self._some(list(self._cluster.actors))
        killed = self._cluster.actors[name]
        killed.kill()
        await self._for_a_while(*RESTART_S)
        if self._cluster.actors[name] is killed:
            self._cluster.start_actor(name)

    async def _pause_actor(self) -> None:
        actor = self._cluster.actors[self._some(list(self._cluster.actors))]
        actor.process.pause()
        await self._for_a_while(0.1, LEASE_S * 1.6)
        actor.process.resume()

    async def _replace_paused_actor(self) -> None:
        """Ray gives up a node that is cut off; its actors do not know, and go on when they can."""
        name = self._some(list(self._cluster.actors))
        zombie = self._cluster.actors[name]
        zombie.process.pause()
        await self._for_a_while(0.1, 3.0)
        if self._cluster.actors[name] is zombie:
            self._cluster.zombies.append(zombie)
            self._cluster.start_actor(name)
        await self._for_a_while(0.1, LEASE_S)
        zombie.process.resume()

    async def _release_sections(self) -> None:
        actor = self._cluster.actors[self._some(list(self._cluster.actors))]
        if actor.service is None or actor.process.is_dead:
            return
        section_ids = [one for one in range(1, self._chaos.plan.sections + 1) if self._chaos.random.random() < 0.5]
        with contextlib.suppress(ProcessDiedError):
            await actor.process.result_of(actor.process.spawn(actor.service.release(section_ids)))

    async def _kill_api(self) -> None:
        index = self._chaos.random.randrange(len(self._cluster.apis))
        await self._restart_api(index)

    async def _give_other_members(self) -> None:
        """It starts with an old view, and learns of a newer one when there is one."""
        index = self._chaos.random.randrange(len(self._cluster.apis))
        count = self._chaos.random.randint(1, len(self._cluster.names))
        members = tuple(sorted(self._chaos.random.sample(self._cluster.names, count)))
        await self._restart_api(index, DirectoryView(0, Placement.AUTO, members))

    async def _restart_api(self, index: int, view: DirectoryView | None = None) -> None:
        killed = self._cluster.apis[index]
        killed.kill()
        await self._for_a_while(0.1, 2.0)
        if self._cluster.apis[index] is killed:
            self._cluster.start_api(index, view or self._cluster.view)

    async def _kill_postgres(self) -> None:
        self._cluster.postgres.crash()
        await self._for_a_while(0.2, 5.0)
        self._cluster.postgres.start()

    async def _stop_redis(self) -> None:
        self._cluster.redis.is_up = False
        await self._for_a_while(0.2, 6.0)
        self._cluster.redis.is_up = True

    async def _flush_redis(self) -> None:
        self._cluster.redis.flush()

    async def _jump_clock(self) -> None:
        actor = self._cluster.actors[self._some(list(self._cluster.actors))]
        actor.process.wall_offset_s += self._chaos.random.choice([-3600.0, 3600.0])
