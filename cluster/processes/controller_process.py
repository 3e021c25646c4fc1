"""The Ray shell around the controller: a detached actor that runs it, and answers calls to it."""

from __future__ import annotations

import asyncio
import logging
from dataclasses import asdict, dataclass
from types import SimpleNamespace
from typing import Any

import ray.exceptions

from allocator.turns.clock import SystemClock
from cluster.config.logs import configure_logging
from cluster.control.config import control_config
from cluster.control.controller import Controller
from cluster.control.desired_state import desired_state, eligible
from cluster.control.names import placed
from cluster.control.ports import ClusterAwayError
from cluster.control.redis_state import RedisState
from cluster.gateway.directory import DEDICATED_PREFIX, POOLED_PREFIX
from cluster.processes.balancer import open_balancer
from cluster.processes.node import NodeConfig
from cluster.processes.ray_cluster import RayCluster

log = logging.getLogger(__name__)

WAIT_INTERVAL_S = 0.05
WITHDRAW_MARGIN_S = 10.0
"""How long ``stop`` waits for the load balancer, beyond the time for draining."""


@dataclass(frozen=True, slots=True)
class ControllerSeed:
    """What a controller is made from. Sent to its process.

    Args:
        node: given to every actor.
        generation: marks its actors; empty where there can be no others.
        label: the label of all nodes; None: each has one made from its id.
    """

    node: NodeConfig
    generation: str
    label: str | None


class ControllerActor:
    """The controller of a cluster. Ray restarts it; each start begins with what it observes."""

    async def __init__(self, seed: ControllerSeed) -> None:  # type: ignore[misc]  # Ray awaits it
        """Start the controller at once: after a restart nobody may be there to ask for it."""
        settings = seed.node.settings
        configure_logging(settings.log_level)
        self._seed = seed
        self._drain_s = settings.drain_s if seed.label is None else 0.0  # `seatline up` has nothing before it
        self._cluster = RayCluster(seed.node, seed.label)
        self._state = RedisState(seed.node.redis_url)
        self._controller = Controller(
            control_config(settings, seed.generation),
            self._cluster,
            self._state,
            open_balancer(settings),
            SystemClock(),
        )
        self._running: asyncio.Task[None] | None = asyncio.create_task(self._controller.run(), name="controller")

    async def generation(self) -> str:
        """The generation of the actors that it starts."""
        return self._seed.generation

    async def watch(self, version: int, timeout_s: float) -> SimpleNamespace | None:
        """A directory view newer than ``version``, as soon as there is one; None if there is none in time.

        Returns:
            the fields of a ``DirectoryView``. API servers of another version may know no such class.
        """
        view = await self._controller.watch(version, timeout_s)
        if view is None:
            return None
        return SimpleNamespace(
            version=view.version, placement=view.placement.value, pooled=view.pooled, pins=dict(view.pins)
        )

    async def serving_port(self, timeout_s: float) -> int | None:
        """Where the API listens, as soon as everything that should run does; None if it does not in time."""
        try:
            async with asyncio.timeout(timeout_s):
                while (port := self._controller.serving_port()) is None:
                    await asyncio.sleep(WAIT_INTERVAL_S)
        except TimeoutError:
            return None
        return port

    async def stats(self) -> dict[str, Any]:
        """Figures for ``/metrics``."""
        return self._controller.stats()

    async def status(self) -> dict[str, Any]:
        """The state of the cluster for `seatline status`."""
        return self._controller.status()

    async def rebalance(self) -> SimpleNamespace:
        """Search for misplaced sections now, and move them.

        Returns:
            the fields of ``MovedSections``.
        """
        moved = await self._controller.rebalance()
        return SimpleNamespace(**asdict(moved))

    async def drain(self, node: str, reason: str) -> str | None:
        """Have everything leave a node.

        Args:
            node: its label, the beginning of its id, or its address.

        Returns:
            its label; None if no node or several are called so, or if no other node could serve.
        """
        label = self._controller.nodes.label_of(node)
        if label is None or self._controller.nodes.is_last(label):
            return None
        self._controller.drain(label, reason)
        return label

    async def undrain(self, node: str, reason: str) -> str | None:
        """Use a node again.

        Returns:
            its label; None if no node or several are called so.
        """
        label = self._controller.nodes.label_of(node)
        if label is not None:
            self._controller.undrain(label, reason)
        return label

    async def stop(self) -> None:
        """Stop the controller, then end all API servers, and after them all section actors.

        API servers are taken from the load balancer at the same time, and still take connections until it has noticed.
        """
        if self._running is None:
            return
        self._running.cancel()
        await asyncio.gather(self._running, return_exceptions=True)
        self._running = None
        await self._controller.close()
        names = await self._cluster.actor_names()
        api = {name for name in names if (found := placed(name)) is not None and found.is_api}
        sections = {name for name in names - api if name.startswith((POOLED_PREFIX, DEDICATED_PREFIX))}
        drain_s = self._drain_s
        api_stops = (self._cluster.stop(name, drain_s) for name in sorted(api))
        withdrawal = self._controller.withdraw(drain_s + WITHDRAW_MARGIN_S)
        await asyncio.gather(withdrawal, *api_stops, return_exceptions=True)
        await asyncio.gather(*(self._cluster.stop(name) for name in sorted(sections)), return_exceptions=True)
        await self._state.close()
        self._cluster.close()


async def give_a_head_start(seed: ControllerSeed) -> None:
    """Create the actors of a new Seatline while its controller still starts. The controller finds them by their names.

    This saves seconds of the start. Whatever fails here is done by the controller later.
    """
    config = control_config(seed.node.settings, seed.generation)
    cluster = RayCluster(seed.node, seed.label)
    try:
        cluster.launch(desired_state(config, eligible(await cluster.nodes(), ())))
    except (ClusterAwayError, ray.exceptions.RayError) as error:
        log.warning("no head start: %s", error)
    finally:
        cluster.close()
