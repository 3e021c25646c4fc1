"""The nodes: which there are, which are being drained, and how many the autoscaler is asked for."""

from __future__ import annotations

from collections.abc import Mapping

from cluster.control.background_tasks import BackgroundTasks
from cluster.control.desired_state import eligible
from cluster.control.journal import DecisionKind, Journal
from cluster.control.model import Node, Pulse
from cluster.control.names import placed
from cluster.control.observed_state import ObservedState
from cluster.control.ports import Cluster
from cluster.control.sizing import Sizing, leavers

NODE_ID_MIN = 6
"""An operator may name a node by the beginning of its id, if that has at least so many characters."""
SCALE_IN = "fewer nodes are wanted"


class Nodes:
    """Knows the nodes, drains them, and asks the autoscaler for more or fewer.

    Args:
        sizing: decides how many there should be.
    """

    def __init__(self, cluster: Cluster, sizing: Sizing, tasks: BackgroundTasks, journal: Journal) -> None:
        self._cluster = cluster
        self._sizing = sizing
        self._tasks = tasks
        self._journal = journal
        self._known: dict[str, Node] = {}
        self._draining: dict[str, str] = {}
        self._requested: tuple[int, frozenset[str]] | None = None

    @property
    def draining(self) -> Mapping[str, str]:
        """Reasons by the labels of the nodes that are being drained."""
        return self._draining

    @property
    def wanted(self) -> int:
        """How many nodes there should be; 0 if that was never decided."""
        return self._sizing.wanted

    def restore(self, observed: ObservedState, draining: Mapping[str, str], wanted: int) -> None:
        """Take over what an earlier controller decided.

        Args:
            draining: reasons by the ids of nodes, since labels may be used again.
            wanted: how many nodes there should be.
        """
        living = [node for node in observed.nodes if node.is_alive]
        self._draining = {node.label: draining[node.node_id] for node in living if node.node_id in draining}
        self._sizing.wanted = wanted

    def draining_ids(self) -> dict[str, str]:
        """Reasons by the ids of the nodes that are being drained, for ``restore``."""
        living = {node.label: node.node_id for node in self._known.values() if node.is_alive}
        return {living[label]: why for label, why in self._draining.items() if label in living}

    def update(self, observed: ObservedState) -> list[Node]:
        """Take in which nodes there are now. Nodes that Ray is taking away are drained.

        Returns:
            the nodes that were lost since the last time.
        """
        lost = []
        for node in observed.nodes:
            known = self._known.get(node.node_id)
            if known is not None and known.is_alive and not node.is_alive:
                self._journal.record(DecisionKind.NODE_LOST, node.label, f"{node.address} is gone")
                lost.append(node)
            self._known[node.node_id] = node
        for label in [label for label in self._draining if label not in observed.living]:
            del self._draining[label]
        for node in observed.nodes:
            if node.is_alive and node.is_leaving:
                self.drain(node.label, "Ray takes the node away")
        return lost

    def drain(self, label: str, reason: str) -> bool:
        """Have everything leave a node.

        Returns:
            whether it was not being drained already.
        """
        if label in self._draining:
            return False
        self._draining[label] = reason
        self._journal.record(DecisionKind.DRAIN, label, reason)
        return True

    def undrain(self, label: str, reason: str) -> bool:
        """Use a node again.

        Returns:
            whether it was being drained.
        """
        if self._draining.pop(label, None) is None:
            return False
        self._journal.record(DecisionKind.UNDRAIN, label, reason)
        return True

    def is_last(self, label: str) -> bool:
        """Whether no other node could serve."""
        return not eligible(self._known.values(), {*self._draining, label})

    def label_of(self, node: str) -> str | None:
        """The label of a living node, which may be named by its label, the beginning of its id, or its address.

        Returns:
            None if no node is called so, or several are.
        """
        living = [one for one in self._known.values() if one.is_alive]
        is_id = len(node) >= NODE_ID_MIN
        meant = [one for one in living if node in {one.label, one.address} or (is_id and one.node_id.startswith(node))]
        return meant[0].label if len(meant) == 1 else None

    def size(self, observed: ObservedState, nodes: list[Node], now: float) -> None:
        """Decide how many nodes there should be, and ask the autoscaler for them.

        Without an autoscaler nothing happens: only nodes that it starts declare the resource ``seatline_node``.

        Args:
            nodes: the nodes that Seatline runs on.
            now: Unix seconds.
        """
        if not any(node.is_declared for node in observed.nodes):
            return
        pulses = _by_label(observed)
        serving = [node for node in nodes if node.label in pulses]
        self._sizing.wanted = self._sizing.wanted or len(nodes)
        self._journal.extend(self._sizing.decide(len(serving), pulses, now))
        wanted = self._sizing.wanted
        back = [label for label, why in self._draining.items() if why == SCALE_IN]
        for label in back[: max(wanted - len(nodes), 0)]:
            self.undrain(label, f"{wanted} nodes are wanted again")
        if len(serving) == len(nodes):  # not while new ones come up: they have least to do
            load = {label: sum(one.commands_per_s for one in of_node.values()) for label, of_node in pulses.items()}
            for label in leavers(nodes, wanted, self._draining, load):
                self.drain(label, SCALE_IN)
        request = wanted, frozenset(self.draining_ids())
        if request != self._requested:
            self._tasks.begin("request nodes", lambda: self._request(*request))

    async def _request(self, wanted: int, leaving: frozenset[str]) -> None:
        await self._cluster.request_nodes(wanted, leaving)
        self._requested = wanted, leaving


def _by_label(observed: ObservedState) -> dict[str, dict[str, Pulse]]:
    found: dict[str, dict[str, Pulse]] = {}
    for name, pulse in observed.pulses.items():
        place = placed(name)
        if place is not None:
            found.setdefault(place.label, {})[name] = pulse
    return found
