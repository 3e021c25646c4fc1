"""The controller: about once a second it observes the cluster and reconciles it with the desired state.

It is level-triggered: every pass decides anew from what it observes, so nothing has to be remembered between passes,
and what an earlier controller left half-way is finished. Work that takes longer than a pass runs in the background
(background_tasks.py). No request waits for the controller: API processes keep the last directory view, and Ray
restarts section actors by itself.
"""

from __future__ import annotations

import asyncio
import logging
from functools import partial
from typing import Any

from allocator.ports import Clock
from cluster.config.settings import Placement
from cluster.control.api_servers import ApiServers
from cluster.control.background_tasks import FAILURES, BackgroundTasks
from cluster.control.config import ControlConfig
from cluster.control.desired_state import DesiredState, desired_state, eligible
from cluster.control.generations import Generations
from cluster.control.heat import HeatWatch
from cluster.control.hot import HotSections
from cluster.control.journal import ControllerDecision, Journal
from cluster.control.memory import ControllerMemory
from cluster.control.misplaced import MovedSections, Rebalancer
from cluster.control.model import Remembered
from cluster.control.names import own_section
from cluster.control.nodes import Nodes
from cluster.control.observed_state import ObservedState, Observer
from cluster.control.ports import Cluster, LoadBalancer, StateStore
from cluster.control.publication import DirectoryPublisher
from cluster.control.section_actors import SectionActors
from cluster.control.sizing import Sizing
from cluster.control.status import is_complete, stats_of, status_of
from cluster.control.targets import Targets
from cluster.gateway.directory import DirectoryView

log = logging.getLogger(__name__)

INTERVAL_S = 1.0
RETIRE_AFTER_S = 2.0
"""How long an actor stays after it has left the directory: requests are still on their way to it."""


class Controller:
    """Runs the passes, and answers for them. What a pass does is in the classes that it is made of.

    Args:
        config: what the desired state is made from.
        cluster, store, balancer, clock: the outside world.
    """

    def __init__(
        self, config: ControlConfig, cluster: Cluster, store: StateStore, balancer: LoadBalancer, clock: Clock
    ) -> None:
        self._config = config
        self._store = store
        self._clock = clock
        self._wake = asyncio.Event()
        self._tasks = tasks = BackgroundTasks(clock.monotonic, self._wake.set)
        self._journal = journal = Journal(clock.now)
        self._memory = ControllerMemory(store)
        self._generations = generations = Generations(config.generation)
        self._observer = Observer(cluster, clock.monotonic, asks_own=not config.is_dedicated)
        self._nodes = Nodes(cluster, Sizing(config.size, config.openings), tasks, journal)
        self._section_actors = SectionActors(cluster, generations, tasks, journal, is_dedicated=config.is_dedicated)
        self._hot = HotSections(cluster, HeatWatch(config.heat), tasks, journal)
        self._directory = DirectoryPublisher(config.placement, journal, clock)
        self._api_servers = ApiServers(cluster, generations, tasks, journal, port=config.port, drain_s=config.drain_s)
        self._rebalancer = Rebalancer(cluster, journal, clock.monotonic)
        self._targets = Targets(balancer, tasks)
        self._desired = DesiredState()
        self._observed: ObservedState | None = None
        self._failed_observations = 0

    # The loop

    async def run(self) -> None:
        """Observe and act until cancelled."""
        while True:
            self._wake.clear()
            try:
                await self.step()
            except Exception:  # a bug in one pass: the next may do better, and serving goes on without
                log.exception("a pass of the controller failed")
            try:
                async with asyncio.timeout(INTERVAL_S):
                    await self._wake.wait()
            except TimeoutError:
                pass

    async def step(self) -> None:
        """One pass: observe, decide, act. If the cluster cannot be asked, nothing changes."""
        try:
            observed = await self._observer.observe()
        except FAILURES as error:
            self._failed_observations += 1
            if self._failed_observations == 1:
                log.warning("the cluster cannot be asked: %s", str(error) or type(error).__name__)
            return
        self._failed_observations = 0
        if not self._memory.is_loaded:
            self._restore(observed, await self._memory.load())
        self._observed = observed
        for lost in self._nodes.update(observed):
            await self._store.bury(self._directory.members_on(lost))
        await self._reconcile(observed)

    async def _reconcile(self, observed: ObservedState) -> None:
        draining = self._nodes.draining
        nodes = eligible(observed.nodes, draining)
        self._desired = desired = desired_state(self._config, nodes)
        self._section_actors.start_missing(desired, observed)
        self._hot.drop_lost(observed)
        if self._config.placement is Placement.AUTO and self._is_upgraded():
            self._hot.update(observed, self._clock.monotonic())
        self._directory.update(desired.section_actors, observed, self._hot.pins, draining)
        self._api_servers.reconcile(desired.api_servers, observed, draining, may_replace=self._is_upgraded())
        self._nodes.size(observed, nodes, self._clock.now())
        self._move_misplaced(observed)
        self._retire_section_actors(desired, observed)
        listening = observed.listening()
        servers = desired.api_servers.items()
        self._targets.reconcile({(node.address, listening[name]) for name, node in servers if name in listening})
        await self._memory.save(self._to_remember())

    def _is_upgraded(self) -> bool:
        """Whether no pooled actor of an older generation shares the sections any more."""
        view = self._directory.view
        return view is not None and self._generations.are_current(view.pooled)

    def _move_misplaced(self, observed: ObservedState) -> None:
        view = self._directory.view
        if view is not None and not self._config.is_dedicated and self._rebalancer.is_due(view):
            self._tasks.begin("move", partial(self._rebalancer.move, view, observed.section_actors()))

    def _retire_section_actors(self, desired: DesiredState, observed: ObservedState) -> None:
        view = self._directory.view
        if view is None or self._directory.age_s < RETIRE_AFTER_S or not self._directory.is_known_to_all(observed):
            return
        if not self._generations.are_current(observed.api_servers()):
            return  # API servers of another version may not follow the directory, and have requests to finish
        self._section_actors.retire_unused(desired, observed, view, self._hot.is_coming, self._nodes.draining)

    async def idle(self) -> None:
        """Wait until all that was begun in the background is done."""
        await self._tasks.idle()

    async def close(self) -> None:
        """Cancel what runs in the background."""
        await self._tasks.close()

    async def withdraw(self, timeout_s: float) -> None:
        """Take all targets back from the load balancer. After ``close``, so that none is registered again."""
        await self._targets.withdraw(timeout_s)

    # Memory over restarts

    def _restore(self, observed: ObservedState, kept: Remembered) -> None:
        """Take over what an earlier controller decided, as far as it still applies."""
        self._nodes.restore(observed, kept.draining, kept.nodes_wanted)
        if kept.generation == self._config.generation:
            self._hot.restore(observed, kept.pins)
        elif self._config.is_dedicated:
            self._generations.found_older(observed.names)
        self._api_servers.adopt_port(observed)
        version = max([kept.version, *(pulse.view_version for pulse in observed.pulses.values())])
        pooled = tuple(name for name in observed.section_actors() if own_section(name) is None)
        self._directory.restore(version, pooled, self._hot.pins)

    def _to_remember(self) -> Remembered:
        return Remembered(
            self._config.generation,
            self.version,
            dict(self._hot.pins),
            self._nodes.draining_ids(),
            self._nodes.wanted,
        )

    # What others ask

    async def watch(self, version: int, timeout_s: float) -> DirectoryView | None:
        """A view newer than ``version``, as soon as there is one; None if there is none in time."""
        return await self._directory.newer(version, timeout_s)

    def serving_port(self) -> int | None:
        """Where the API listens, once everything that should run does and nothing else; None before."""
        if self._directory.view is None or not is_complete(self._observed, self._desired, self._generations):
            return None
        return self._api_servers.port

    def drain(self, label: str, reason: str) -> None:
        """Have everything leave a node."""
        if self._nodes.drain(label, reason):
            self._wake.set()

    def undrain(self, label: str, reason: str) -> None:
        """Use a node again."""
        if self._nodes.undrain(label, reason):
            self._wake.set()

    async def rebalance(self) -> MovedSections:
        """Search for misplaced sections now, and move them."""
        view, observed = self._directory.view, self._observed
        if view is None or observed is None or self._config.is_dedicated:
            return MovedSections()
        return await self._rebalancer.move(view, observed.section_actors())

    @property
    def nodes(self) -> Nodes:
        """The nodes, as they are known."""
        return self._nodes

    @property
    def view(self) -> DirectoryView | None:
        """The newest directory view; None before the first."""
        return self._directory.view

    @property
    def version(self) -> int:
        """The version of the newest directory view; 0 before the first."""
        return self._directory.version

    @property
    def decisions(self) -> list[ControllerDecision]:
        """The last decisions, the oldest first."""
        return self._journal.recent

    def status(self) -> dict[str, Any]:
        """The state of the cluster for `seatline status`."""
        return status_of(
            self._config,
            self._observed,
            self.view,
            draining=self._nodes.draining,
            nodes_wanted=self._nodes.wanted,
            decisions=self._journal.recent,
            moved=self._rebalancer.last,
            failed_observations=self._failed_observations,
        )

    def stats(self) -> dict[str, Any]:
        """Figures for ``/metrics``, in the form of the section actors' figures."""
        return stats_of(
            self._observed,
            self.view,
            draining=self._nodes.draining,
            nodes_wanted=self._nodes.wanted,
            totals=self._journal.totals,
            pins=self._hot.pins,
            failed_observations=self._failed_observations,
        )
