"""The controller: looks at the cluster about every second, and brings it nearer to what it should be.

Level-triggered: each look decides anew from what is there, so that nothing has to be remembered and whatever was left
half-way by an earlier controller is finished. What takes longer than a look runs beside it (chores.py). Nothing on the
way of a request waits for it: API processes keep the last directory view, Ray restarts section actors by itself.
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

from allocator.ports import Clock
from cluster.control.chores import FAILURES, Chores
from cluster.control.config import ControlConfig, fleet_of
from cluster.control.fleet import Fleet, eligible, members
from cluster.control.heat import HeatWatch
from cluster.control.model import Decision, Journal, Kind, Node, Pulse, Remembered
from cluster.control.names import own_actor_name, own_section, placed
from cluster.control.ports import Cluster, LoadBalancer, StateStore
from cluster.control.publication import Publication
from cluster.control.rollout import api_step
from cluster.control.settling import Settled, settle
from cluster.control.sight import Lookout, Sight
from cluster.control.sizing import Sizing, leavers
from cluster.control.status import status_of
from cluster.directory import DirectoryView
from cluster.settings import Placement

log = logging.getLogger(__name__)

INTERVAL_S = 1.0
SETTLE_INTERVAL_S = 10.0
"""Between looks for misplaced sections while nothing changes."""
RETIRE_AFTER_S = 2.0
"""An actor that left the directory stays so long: requests are still on their way to it."""
OWN_SILENT_S = 5.0
"""A section whose own actor does not answer for so long goes back to the others."""
NODE_ID_MIN = 6
"""Characters of a node's id that may stand for it."""
SCALE_IN = "fewer nodes are wanted"


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
        self._balancer = balancer
        self._clock = clock
        self._publication = Publication(config.placement, clock.now)
        is_dedicated = config.placement is Placement.DEDICATED
        self._lookout = Lookout(cluster, clock.monotonic, asks_own=not is_dedicated)
        self._wake = asyncio.Event()
        self._chores = Chores(clock.monotonic, self._wake.set)
        self._heat = HeatWatch(config.heat)
        self._sizing = Sizing(config.size, config.openings)
        self._journal = Journal()
        self._pins: dict[int, str] = {}
        self._draining: dict[str, str] = {}
        self._port = config.port
        self._is_restored = False
        self._saved: Remembered | None = None
        self._known_nodes: dict[str, Node] = {}
        self._registered: set[tuple[str, int]] = set()
        self._requested = 0
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
        await self._note_nodes(sight)
        nodes = eligible(sight.nodes, self._draining)
        self._fleet = fleet = fleet_of(self._config, nodes)
        self._start_section_actors(fleet, sight)
        self._watch_heat(sight)
        self._update_view(fleet, sight)
        self._roll_api_servers(fleet, sight)
        self._size(sight, nodes)
        self._settle_sections(sight)
        self._retire(fleet, sight)
        self._tell_balancer(sight)
        await self._remember()

    async def idle(self) -> None:
        """Wait until all that was begun is done."""
        await self._chores.idle()

    async def close(self) -> None:
        """Break off what is being done."""
        await self._chores.close()

    # What others ask

    async def watch(self, version: int, timeout_s: float) -> DirectoryView | None:
        """A view newer than ``version``, as soon as there is one; None if there is none in time."""
        return await self._publication.newer(version, timeout_s)

    def serving_port(self) -> int | None:
        """Where the API listens, once everything that should run does; None before."""
        sight, fleet = self._sight, self._fleet
        if sight is None or self._publication.view is None or not fleet.api_servers:
            return None
        listening = sight.listening()
        is_complete = (
            all(name in listening for name in fleet.api_servers)
            and all(sight.silent_s.get(name) == 0.0 for name in fleet.sections)
            and not any((found := placed(name)) and found.generation != self._config.generation for name in sight.names)
        )
        return self._port if is_complete else None

    def is_last(self, label: str) -> bool:
        """Whether no other node could serve."""
        others = eligible(self._sight.nodes, {*self._draining, label}) if self._sight is not None else []
        return not others

    def drain(self, label: str, reason: str) -> None:
        """Have everything leave a node."""
        if label not in self._draining:
            self._draining[label] = reason
            self._decide(Kind.DRAIN, label, reason)
            self._wake.set()

    def undrain(self, label: str, reason: str) -> None:
        """Use a node again."""
        if self._draining.pop(label, None) is not None:
            self._decide(Kind.UNDRAIN, label, reason)
            self._wake.set()

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

    @property
    def draining(self) -> Mapping[str, str]:
        """Nodes that are being left, and why."""
        return self._draining

    async def rebalance(self) -> Settled:
        """Look for misplaced sections now, and move them."""
        view, sight = self._publication.view, self._sight
        if view is None or sight is None:
            return Settled()
        return await self._settle(view, self._section_actors(sight))

    # Starting

    async def _restore(self, sight: Sight) -> None:
        """Take up what an earlier controller decided, as far as it can still be known."""
        self._is_restored = True
        kept = await self._store.load() or Remembered()
        self._publication.saw(max([kept.version, *(pulse.view_version for pulse in sight.pulses.values())]))
        if kept.generation == self._config.generation:
            self._pins = {one: name for one, name in kept.pins.items() if name in sight.names}
        self._draining = {
            node.label: kept.draining[node.node_id]
            for node in sight.nodes
            if node.is_alive and node.node_id in kept.draining
        }
        self._sizing.wanted = kept.nodes_wanted
        if self._port is None:
            self._port = next(iter(sight.listening().values()), None)
        pooled = [name for name in sight.pulses if (found := placed(name)) is not None and not found.is_api]
        if pooled:  # they may be of another generation: the view begins with what serves now
            self._publish(tuple(sorted(pooled)), "found running")

    def _start_section_actors(self, fleet: Fleet, sight: Sight) -> None:
        for name, node in fleet.sections.items():
            if name in sight.pulses or self._chores.is_running(f"start {name}"):
                continue
            is_new = name not in sight.names
            if is_new and self._begin(f"start {name}", lambda name=name, node=node: self._start(name, node)):
                self._decide(Kind.START, name, f"there should be one on node {node.label}")

    async def _start(self, name: str, node: Node) -> None:
        await self._cluster.start_section_actor(name, node)

    def _roll_api_servers(self, fleet: Fleet, sight: Sight) -> None:
        listening = sight.listening()
        view = self._publication.view
        existing = [name for name in sight.names if (found := placed(name)) is not None and found.is_api]
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
            if self._begin(f"start {name}", lambda name=name, node=node: self._start_api(name, node)):
                why = f"there should be one on node {node.label}" if name not in sight.names else "it does not listen"
                self._decide(Kind.START if name not in sight.names else Kind.RESTART, name, why)
        for name in step.end:
            if self._begin(f"end {name}", lambda name=name: self._end_api(name)):
                self._decide(Kind.RETIRE, name, self._why_retired(name))

    async def _start_api(self, name: str, node: Node) -> None:
        self._port = await self._cluster.start_api_server(name, node, self._port)

    async def _end_api(self, name: str) -> None:
        await self._cluster.stop(name, self._config.drain_s)

    # The directory

    def _update_view(self, fleet: Fleet, sight: Sight) -> None:
        view = self._publication.view
        before = view.pooled if view is not None else ()
        found = members(fleet.sections, sight.silent_s, before, sight.living, draining=self._draining)
        if view is None:
            if found.names or self._config.placement is Placement.DEDICATED:
                self._publish(found.names, "the first")
        elif found.names != view.pooled or self._pins != dict(view.pins):
            self._publish(found.names, found.reason or "pins changed")

    def _publish(self, pooled: tuple[str, ...], reason: str) -> None:
        view = self._publication.publish(pooled, self._pins)
        self._published_at = self._clock.monotonic()
        self._settled_at = float("-inf")
        self._decide(Kind.VIEW, str(view.version), reason)

    def _settle_sections(self, sight: Sight) -> None:
        view = self._publication.view
        is_due = self._clock.monotonic() - self._settled_at >= SETTLE_INTERVAL_S
        if view is None or not is_due or self._config.placement is Placement.DEDICATED:
            return
        self._begin("settle", lambda: self._settle(view, self._section_actors(sight)))

    async def _settle(self, view: DirectoryView, actors: list[str]) -> Settled:
        started = self._clock.monotonic()
        settled = await settle(self._cluster, view, actors)
        if settled.misplaced:
            took_s = self._clock.monotonic() - started
            self._settled = settled
            self._decide(
                Kind.MOVE,
                f"{settled.misplaced} sections",
                f"view {view.version}: {settled.handed} handed over, {settled.taken} taken, in {took_s:.2f} s",
            )
        elif view is self._publication.view:  # until nothing is found, it is looked again at once
            self._settled_at = self._clock.monotonic()
        return settled

    def _section_actors(self, sight: Sight) -> list[str]:
        return sorted(name for name in sight.pulses if (found := placed(name)) is None or not found.is_api)

    def _retire(self, fleet: Fleet, sight: Sight) -> None:
        """End the section actors that own nothing any more, once every API server knows."""
        view = self._publication.view
        if view is None or self._clock.monotonic() - self._published_at < RETIRE_AFTER_S:
            return
        if any(sight.pulses[name].view_version < view.version for name in sight.listening()):
            return
        for name in sorted(sight.names - fleet.sections.keys() - set(view.pooled) - set(view.pins.values())):
            found = placed(name)
            is_own = found is None and self._config.placement is not Placement.DEDICATED
            if (is_own and not self._is_coming(name)) or (found is not None and not found.is_api):
                self._begin(f"end {name}", lambda name=name: self._end_section_actor(name))

    def _is_coming(self, own_name: str) -> bool:
        return self._chores.is_running(f"pin {own_section(own_name)}")

    async def _end_section_actor(self, name: str) -> None:
        try:
            if await self._cluster.active_sections(name):
                return  # they are moved first
        except FAILURES:
            pass  # it does not answer: it cannot be asked to hand over either
        self._decide(Kind.RETIRE, name, self._why_retired(name))
        await self._cluster.stop(name)

    def _why_retired(self, name: str) -> str:
        found = placed(name)
        if found is None:
            return "its section is with the others again"
        if found.label in self._draining:
            return f"node {found.label} is drained: {self._draining[found.label]}"
        return "of an older generation" if not self._is_current(name) else "not needed"

    def _is_current(self, name: str) -> bool:
        found = placed(name)
        return found is None or found.generation == self._config.generation

    # Heat

    def _watch_heat(self, sight: Sight) -> None:
        view = self._publication.view
        if view is None:
            return
        for section_id, name in list(self._pins.items()):
            if name not in sight.names or sight.silent_s.get(name, 0.0) >= OWN_SILENT_S:
                del self._pins[section_id]
                self._decide(Kind.UNPIN, str(section_id), "its own actor is gone")
        is_upgrading = not all(self._is_current(name) for name in view.pooled)
        if self._config.placement is not Placement.AUTO or is_upgrading:
            return
        pulses = {name: sight.pulses[name] for name in self._section_actors(sight)}
        for decision in self._heat.look(pulses, self._pins, self._clock.monotonic()):
            section_id = int(decision.subject)
            if decision.kind is Kind.UNPIN:
                del self._pins[section_id]
                self._decide(decision.kind, decision.subject, decision.reason)
            elif self._begin(f"pin {section_id}", lambda section_id=section_id: self._pin(section_id)):
                self._decide(decision.kind, decision.subject, decision.reason)

    async def _pin(self, section_id: int) -> None:
        name = own_actor_name(section_id)
        await self._cluster.start_section_actor(name, None)
        self._pins[section_id] = name

    # Nodes

    async def _note_nodes(self, sight: Sight) -> None:
        for node in sight.nodes:
            known = self._known_nodes.get(node.node_id)
            if known is not None and known.is_alive and not node.is_alive:
                self._decide(Kind.NODE_LOST, node.label, f"{node.address} is gone")
                await self._store.bury(self._pooled_of(node))
            self._known_nodes[node.node_id] = node
        for label in [label for label in self._draining if label not in sight.living]:
            del self._draining[label]
        for node in sight.nodes:
            if node.is_alive and node.is_leaving:
                self.drain(node.label, "Ray takes the node away")

    def _pooled_of(self, node: Node) -> list[str]:
        """Members of the directory on a node, if its label tells it from all others."""
        view = self._publication.view
        if view is None or not node.node_id.endswith(node.label):
            return []
        return [name for name in view.pooled if (found := placed(name)) is not None and found.label == node.label]

    def _size(self, sight: Sight, nodes: list[Node]) -> None:
        """Decide how many nodes there should be, if there is an autoscaler to tell: nodes say so by declaring."""
        if not any(node.is_declared for node in sight.nodes):
            return
        by_label: dict[str, dict[str, Pulse]] = {}
        for name, pulse in sight.pulses.items():
            found = placed(name)
            if found is not None:
                by_label.setdefault(found.label, {})[name] = pulse
        serving = [node for node in nodes if node.label in by_label]
        self._sizing.wanted = self._sizing.wanted or len(nodes)
        decisions = self._sizing.decide(len(serving), by_label, self._clock.now())
        self._note(decisions)
        wanted = self._sizing.wanted
        if wanted != self._requested:
            self._begin("request nodes", lambda: self._request(wanted))
        load = {label: sum(pulse.commands_per_s for pulse in pulses.values()) for label, pulses in by_label.items()}
        back = [label for label, why in self._draining.items() if why == SCALE_IN][: max(wanted - len(nodes), 0)]
        for label in back:
            self.undrain(label, f"{wanted} nodes are wanted again")
        if len(serving) == len(nodes):  # not while new ones come up: they have least to do
            for label in leavers(nodes, wanted, self._draining, load):
                self.drain(label, SCALE_IN)

    async def _request(self, wanted: int) -> None:
        await self._cluster.request_nodes(wanted)
        self._requested = wanted

    def _tell_balancer(self, sight: Sight) -> None:
        listening = sight.listening()
        targets = {
            (node.address, listening[name]) for name, node in self._fleet.api_servers.items() if name in listening
        }
        for address, port in targets - self._registered:
            self._begin(f"register {address}:{port}", lambda a=address, p=port: self._register(a, p))
        if targets:  # never the last one
            for address, port in self._registered - targets:
                self._begin(f"deregister {address}:{port}", lambda a=address, p=port: self._deregister(a, p))

    async def _register(self, address: str, port: int) -> None:
        await self._balancer.register(address, port)
        self._registered.add((address, port))

    async def _deregister(self, address: str, port: int) -> None:
        await self._balancer.deregister(address, port)
        self._registered.discard((address, port))

    # Memory

    async def _remember(self) -> None:
        living = {node.label: node.node_id for node in self._known_nodes.values() if node.is_alive}
        draining = {living[label]: why for label, why in self._draining.items() if label in living}
        version = self._publication.version
        state = Remembered(self._config.generation, version, dict(self._pins), draining, self._sizing.wanted)
        if state != self._saved:
            self._saved = state
            await self._store.save(state)

    def _decide(self, kind: Kind, subject: str, reason: str) -> None:
        self._note([Decision(self._clock.now(), kind, subject, reason)])

    def _note(self, decisions: Iterable[Decision]) -> None:
        for one in decisions:
            log.info("%s %s: %s", one.kind.value, one.subject, one.reason)
            self._journal.note([one])

    def _begin(self, key: str, work: Any) -> bool:
        return self._chores.begin(key, work)

    # Figures

    def status(self) -> dict[str, Any]:
        """All that an operator may want to know."""
        return status_of(
            self._config,
            self._sight,
            self._publication.view,
            draining=self._draining,
            nodes_wanted=self._sizing.wanted,
            decisions=self._journal.recent,
            settled=self._settled,
            failed_looks=self._failed_looks,
        )

    def label_of(self, node: str) -> str | None:
        """The label of the living node that is meant: by its label, the beginning of its id, or its address."""
        living = [one for one in self._sight.nodes if one.is_alive] if self._sight is not None else []
        meant = [
            one
            for one in living
            if node in {one.label, one.address} or (len(node) >= NODE_ID_MIN and one.node_id.startswith(node))
        ]
        return meant[0].label if len(meant) == 1 else None

    def stats(self) -> dict[str, Any]:
        """For ``/metrics``, in the form of the section actors' figures."""
        sight = self._sight
        names = sight.names if sight is not None else frozenset()
        return {
            "actor": "controller",
            "view_version": self._publication.version,
            "members": len(self.view.pooled) if self.view is not None else 0,
            "pins": len(self._pins),
            "nodes": len(sight.living) if sight is not None else 0,
            "nodes_draining": len(self._draining),
            "nodes_wanted": self._sizing.wanted,
            "actors": dict(Counter(_kind_of(name) for name in names)),
            "failed_looks": self._failed_looks,
            "decisions": dict(self._journal.totals),
        }


def _kind_of(name: str) -> str:
    found = placed(name)
    if found is None:
        return "own"
    return "api" if found.is_api else "pooled"
