"""The controller: looks at the cluster about every second, and brings it nearer to what it should be.

Level-triggered: each look decides anew from what is there, so that nothing has to be remembered and whatever was left
half-way by an earlier controller is finished. What takes longer than a look runs beside it (chores.py). Nothing on the
way of a request waits for it: API processes keep the last directory view, Ray restarts section actors by itself.
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Mapping
from functools import partial
from typing import Any

from allocator.ports import Clock
from cluster.config.settings import Placement
from cluster.control.chores import FAILURES, Chores
from cluster.control.config import ControlConfig, fleet_of
from cluster.control.fleet import Fleet, eligible, members
from cluster.control.heat import HeatWatch
from cluster.control.hot import HotSections
from cluster.control.model import Decision, Journal, Kind, Node, Remembered
from cluster.control.names import own_section, placed
from cluster.control.nodes import Nodes
from cluster.control.ports import Cluster, LoadBalancer, StateStore
from cluster.control.publication import Publication
from cluster.control.rollout import api_step
from cluster.control.settling import Settled, settle
from cluster.control.sight import Lookout, Sight
from cluster.control.sizing import Sizing
from cluster.control.status import status_of
from cluster.control.targets import Targets
from cluster.gateway.directory import DirectoryView

log = logging.getLogger(__name__)

INTERVAL_S = 1.0
SETTLE_INTERVAL_S = 10.0
"""Between looks for misplaced sections while nothing changes."""
RETIRE_AFTER_S = 2.0
"""An actor that left the directory stays so long: requests are still on their way to it."""


class Controller:
    """Args:
    config: what there should be.
    cluster, store, balancer, clock: the world.
    """

    def __init__(
        self, config: ControlConfig, cluster: Cluster, store: StateStore, balancer: LoadBalancer, clock: Clock
    ) -> None:
        self._config = config
        self._cluster = cluster
        self._store = store
        self._clock = clock
        self._wake = asyncio.Event()
        self._chores = Chores(clock.monotonic, self._wake.set)
        self._journal = Journal(clock.now)
        self._publication = Publication(config.placement, clock.now)
        self._lookout = Lookout(cluster, clock.monotonic, asks_own=not config.is_dedicated)
        self._nodes = Nodes(cluster, Sizing(config.size, config.openings), self._chores, self._journal)
        self._hot = HotSections(cluster, HeatWatch(config.heat), self._chores, self._journal)
        self._targets = Targets(balancer, self._chores)
        self._port = config.port
        self._is_restored = False
        self._saved: Remembered | None = None
        self._outdated: set[str] = set()
        self._published_at = 0.0
        self._settled_at = float("-inf")
        self._settled = Settled()
        self._failed_looks = 0
        self._fleet = Fleet()
        self._sight: Sight | None = None

    # The loop

    async def run(self) -> None:
        """Look and act until cancelled."""
        while True:
            self._wake.clear()
            try:
                await self.step()
            except Exception:  # a bug in one look: the next may do better, and serving goes on without
                log.exception("a look failed")
            try:
                async with asyncio.timeout(INTERVAL_S):
                    await self._wake.wait()
            except TimeoutError:
                pass

    async def step(self) -> None:
        """One look, and what follows from it. If the cluster cannot be asked, nothing changes."""
        try:
            sight = await self._lookout.look()
        except FAILURES as error:
            self._failed_looks += 1
            if self._failed_looks == 1:
                log.warning("the cluster cannot be asked: %s", str(error) or type(error).__name__)
            return
        self._failed_looks = 0
        if not self._is_restored:
            await self._restore(sight)
        self._sight = sight
        for node in self._nodes.note(sight):
            await self._store.bury(self._members_on(node))
        nodes = eligible(sight.nodes, self._nodes.draining)
        self._fleet = fleet = fleet_of(self._config, nodes)
        self._start_section_actors(fleet, sight)
        self._watch_heat(sight)
        self._update_view(fleet, sight)
        self._roll_api_servers(fleet, sight)
        self._nodes.size(sight, nodes, self._clock.now())
        self._settle_sections(sight)
        self._retire(fleet, sight)
        self._tell_balancer(fleet, sight)
        await self._remember()

    async def idle(self) -> None:
        """Wait until all that was begun is done."""
        await self._chores.idle()

    async def close(self) -> None:
        """Break off what is being done."""
        await self._chores.close()

    async def withdraw(self, timeout_s: float) -> None:
        """Have the load balancer send nothing any more. After ``close``: nothing is registered again."""
        await self._targets.withdraw(timeout_s)

    # What others ask

    async def watch(self, version: int, timeout_s: float) -> DirectoryView | None:
        """A view newer than ``version``, as soon as there is one; None if there is none in time."""
        return await self._publication.newer(version, timeout_s)

    def serving_port(self) -> int | None:
        """Where the API listens, once everything that should run does and nothing else; None before."""
        sight, fleet = self._sight, self._fleet
        if sight is None or self._publication.view is None or not fleet.api_servers:
            return None
        listening = sight.listening()
        is_complete = (
            all(name in listening for name in fleet.api_servers)
            and all(sight.silent_s.get(name) == 0.0 for name in fleet.sections)
            and all(self._is_current(name) for name in sight.names)
        )
        return self._port if is_complete else None

    def drain(self, label: str, reason: str) -> None:
        """Have everything leave a node."""
        if self._nodes.drain(label, reason):
            self._wake.set()

    def undrain(self, label: str, reason: str) -> None:
        """Use a node again."""
        if self._nodes.undrain(label, reason):
            self._wake.set()

    @property
    def nodes(self) -> Nodes:
        """What is known of nodes."""
        return self._nodes

    @property
    def view(self) -> DirectoryView | None:
        """The newest directory view; None before the first."""
        return self._publication.view

    @property
    def version(self) -> int:
        """Of the newest directory view; 0 before the first."""
        return self._publication.version

    @property
    def decisions(self) -> list[Decision]:
        """The last ones, the oldest first."""
        return self._journal.recent

    async def rebalance(self) -> Settled:
        """Look for misplaced sections now, and move them."""
        view, sight = self._publication.view, self._sight
        if view is None or sight is None or self._config.is_dedicated:
            return Settled()
        return await self._settle(view, sight.section_actors())

    # Memory

    async def _restore(self, sight: Sight) -> None:
        """Take up what an earlier controller decided, as far as it can still be known."""
        self._is_restored = True
        kept = await self._store.load() or Remembered()
        self._publication.saw(max([kept.version, *(pulse.view_version for pulse in sight.pulses.values())]))
        self._nodes.restore(sight, kept.draining, kept.nodes_wanted)
        if kept.generation == self._config.generation:
            self._hot.restore(sight, kept.pins)
        elif self._config.is_dedicated:
            self._outdated = {name for name in sight.names if own_section(name) is not None}
        if self._port is None:
            self._port = next(iter(sight.listening().values()), None)
        pooled = [name for name in sight.section_actors() if own_section(name) is None]
        if pooled:  # they may be of another generation: the view begins with what serves now
            self._publish(tuple(pooled), "found running")

    async def _remember(self) -> None:
        state = Remembered(
            self._config.generation,
            self.version,
            dict(self._hot.pins),
            self._nodes.draining_ids(),
            self._nodes.wanted,
        )
        if state != self._saved:
            self._saved = state
            await self._store.save(state)

    # Starting

    def _start_section_actors(self, fleet: Fleet, sight: Sight) -> None:
        """Those that are not there. One that is there and silent is restarted by Ray."""
        for name, node in fleet.sections.items():
            start = partial(self._cluster.start_section_actor, name, node)
            if name not in sight.names and self._chores.begin(f"start {name}", start):
                self._journal.decide(Kind.START, name, f"there should be one on node {node.label}")

    def _roll_api_servers(self, fleet: Fleet, sight: Sight) -> None:
        listening = sight.listening()
        view = self._publication.view
        existing = sight.api_servers()
        step = api_step(
            fleet.api_servers,
            existing,
            listening,
            [name for name in existing if self._chores.is_running(f"end {name}")],
            may_replace=view is not None and all(self._is_current(name) for name in view.pooled),
        )
        if self._port is None:
            self._port = next(iter(listening.values()), None)
        # With the port left to the system, the others can only follow when the first has one.
        for name in step.start if self._port is not None else step.start[:1]:
            node = fleet.api_servers[name]
            if self._chores.begin(f"start {name}", partial(self._start_api, name, node)):
                is_new = name not in sight.names
                why = f"there should be one on node {node.label}" if is_new else "it does not listen"
                self._journal.decide(Kind.START if is_new else Kind.RESTART, name, why)
        for name in step.end:
            if self._chores.begin(f"end {name}", partial(self._cluster.stop, name, self._config.drain_s)):
                self._journal.decide(Kind.RETIRE, name, self._why_retired(name))

    async def _start_api(self, name: str, node: Node) -> None:
        self._port = await self._cluster.start_api_server(name, node, self._port)

    # The directory

    def _watch_heat(self, sight: Sight) -> None:
        view = self._publication.view
        self._hot.drop_lost(sight)
        is_upgrading = view is None or not all(self._is_current(name) for name in view.pooled)
        if self._config.placement is Placement.AUTO and not is_upgrading:
            pulses = {name: sight.pulses[name] for name in sight.section_actors()}
            self._hot.look(pulses, self._clock.monotonic())

    def _update_view(self, fleet: Fleet, sight: Sight) -> None:
        view = self._publication.view
        before = view.pooled if view is not None else ()
        found = members(fleet.sections, sight.silent_s, before, sight.living, draining=self._nodes.draining)
        if view is None:
            if found.names or self._config.is_dedicated:
                self._publish(found.names, "the first")
        elif found.names != view.pooled or self._hot.pins != view.pins:
            self._publish(found.names, found.reason or "pins changed")

    def _publish(self, pooled: tuple[str, ...], reason: str) -> None:
        view = self._publication.publish(pooled, self._hot.pins)
        self._published_at = self._clock.monotonic()
        self._settled_at = float("-inf")
        self._journal.decide(Kind.VIEW, str(view.version), reason)

    def _settle_sections(self, sight: Sight) -> None:
        view = self._publication.view
        is_due = self._clock.monotonic() - self._settled_at >= SETTLE_INTERVAL_S
        if view is not None and is_due and not self._config.is_dedicated:
            self._chores.begin("settle", partial(self._settle, view, sight.section_actors()))

    async def _settle(self, view: DirectoryView, actors: list[str]) -> Settled:
        started = self._clock.monotonic()
        settled = await settle(self._cluster, view, actors)
        if settled.misplaced:
            self._settled = settled
            took_s = self._clock.monotonic() - started
            what = f"{settled.handed} handed over, {settled.taken} taken, in {took_s:.2f} s"
            self._journal.decide(Kind.MOVE, f"{settled.misplaced} sections", f"view {view.version}: {what}")
        elif view is self._publication.view:  # until nothing is found, it is looked again at once
            self._settled_at = self._clock.monotonic()
        return settled

    # Ending

    def _retire(self, fleet: Fleet, sight: Sight) -> None:
        """End the section actors that own nothing any more, once every API server knows."""
        view = self._publication.view
        if view is None or self._clock.monotonic() - self._published_at < RETIRE_AFTER_S:
            return
        if any(sight.pulses[name].view_version < view.version for name in sight.listening()):
            return
        owners = {*fleet.sections, *view.pooled, *view.pins.values(), *sight.api_servers()}
        for name in sorted(sight.names - owners):
            if self._is_for_us_to_end(name, sight):
                self._chores.begin(f"end {name}", partial(self._end_section_actor, name))

    def _is_for_us_to_end(self, name: str, sight: Sight) -> bool:
        section_id = own_section(name)
        if section_id is None:
            return True
        if self._config.is_dedicated:  # they end by themselves, but for those that run old code
            return name in self._outdated and all(self._is_current(one) for one in sight.api_servers())
        return not self._hot.is_coming(section_id)

    async def _end_section_actor(self, name: str) -> None:
        if not self._config.is_dedicated:
            try:
                if await self._cluster.active_sections(name):
                    return  # they are moved first
            except FAILURES:
                pass  # it does not answer: it cannot be asked to hand over either
        self._journal.decide(Kind.RETIRE, name, self._why_retired(name))
        await self._cluster.stop(name)
        self._outdated.discard(name)

    def _why_retired(self, name: str) -> str:
        found = placed(name)
        draining = self._nodes.draining
        if found is None:
            return "of an older generation" if name in self._outdated else "its section is with the others again"
        if found.label in draining:
            return f"node {found.label} is drained: {draining[found.label]}"
        return "of an older generation" if not self._is_current(name) else "not needed"

    def _is_current(self, name: str) -> bool:
        found = placed(name)
        return name not in self._outdated and (found is None or found.generation == self._config.generation)

    # Who is told

    def _members_on(self, node: Node) -> list[str]:
        """Members of the directory on a node, if its label tells it from all others."""
        view = self._publication.view
        if view is None or not node.node_id.endswith(node.label):
            return []
        return [name for name in view.pooled if (found := placed(name)) is not None and found.label == node.label]

    def _tell_balancer(self, fleet: Fleet, sight: Sight) -> None:
        listening = sight.listening()
        servers = fleet.api_servers.items()
        self._targets.bring_to({(node.address, listening[name]) for name, node in servers if name in listening})

    def status(self) -> dict[str, Any]:
        """All that an operator may want to know."""
        return status_of(
            self._config,
            self._sight,
            self.view,
            draining=self._nodes.draining,
            nodes_wanted=self._nodes.wanted,
            decisions=self._journal.recent,
            settled=self._settled,
            failed_looks=self._failed_looks,
        )

    def stats(self) -> dict[str, Any]:
        """For ``/metrics``, in the form of the section actors' figures."""
        sight, view = self._sight, self.view
        return {
            "actor": "controller",
            "view_version": self.version,
            "members": len(view.pooled) if view is not None else 0,
            "pins": len(self._hot.pins),
            "nodes": len(sight.living) if sight is not None else 0,
            "nodes_draining": len(self._nodes.draining),
            "nodes_wanted": self._nodes.wanted,
            "actors": _by_kind(sight),
            "failed_looks": self._failed_looks,
            "decisions": dict(self._journal.totals),
        }


def _by_kind(sight: Sight | None) -> Mapping[str, int]:
    if sight is None:
        return {}
    api = len(sight.api_servers())
    own = sum(own_section(name) is not None for name in sight.names)
    return Counter(api=api, own=own, pooled=len(sight.names) - api - own)
