"""The nodes: which there are, which are being left, how many there should be, and who is told of it."""

from __future__ import annotations

from collections.abc import Mapping

from cluster.control.chores import Chores
from cluster.control.fleet import eligible
from cluster.control.model import Journal, Kind, Node, Pulse
from cluster.control.names import placed
from cluster.control.ports import Cluster
from cluster.control.sight import Sight
from cluster.control.sizing import Sizing, leavers

NODE_ID_MIN = 6
"""Characters of a node's id that may stand for it."""
SCALE_IN = "fewer nodes are wanted"


class Nodes:
    """Args:
    sizing: how many there should be.
    """

    def __init__(self, cluster: Cluster, sizing: Sizing, chores: Chores, journal: Journal) -> None:
        self._cluster = cluster
        self._sizing = sizing
        self._chores = chores
        self._journal = journal
        self._known: dict[str, Node] = {}
        self._draining: dict[str, str] = {}
        self._requested: tuple[int, frozenset[str]] | None = None

    @property
    def draining(self) -> Mapping[str, str]:
        """Labels of the nodes that are being left, and why."""
        return self._draining

    @property
    def wanted(self) -> int:
        """How many there should be; 0 if that was never decided."""
        return self._sizing.wanted

    def restore(self, sight: Sight, draining: Mapping[str, str], wanted: int) -> None:
        """Take up what was decided before; ``draining`` is by the ids of nodes, for labels may be used again."""
        living = [node for node in sight.nodes if node.is_alive]
        self._draining = {node.label: draining[node.node_id] for node in living if node.node_id in draining}
        self._sizing.wanted = wanted

    def draining_ids(self) -> dict[str, str]:
        """As ``restore`` wants it."""
        living = {node.label: node.node_id for node in self._known.values() if node.is_alive}
        return {living[label]: why for label, why in self._draining.items() if label in living}

    def note(self, sight: Sight) -> list[Node]:
        """Take in who is there now.

        Returns:
            nodes that were lost since the last time.
        """
        lost = []
        for node in sight.nodes:
            known = self._known.get(node.node_id)
            if known is not None and known.is_alive and not node.is_alive:
                self._journal.decide(Kind.NODE_LOST, node.label, f"{node.address} is gone")
                lost.append(node)
            self._known[node.node_id] = node
        for label in [label for label in self._draining if label not in sight.living]:
            del self._draining[label]
        for node in sight.nodes:
            if node.is_alive and node.is_leaving:
                self.drain(node.label, "Ray takes the node away")
        return lost

    def drain(self, label: str, reason: str) -> bool:
        """Have everything leave a node; whether that is news."""
        if label in self._draining:
            return False
        self._draining[label] = reason
        self._journal.decide(Kind.DRAIN, label, reason)
        return True

    def undrain(self, label: str, reason: str) -> bool:
        """Use a node again; whether that is news."""
        if self._draining.pop(label, None) is None:
            return False
        self._journal.decide(Kind.UNDRAIN, label, reason)
        return True

    def is_last(self, label: str) -> bool:
        """Whether no other node could serve."""
        return not eligible(self._known.values(), {*self._draining, label})

    def label_of(self, node: str) -> str | None:
        """The label of the living node that is meant: by its label, the beginning of its id, or its address."""
        living = [one for one in self._known.values() if one.is_alive]
        is_id = len(node) >= NODE_ID_MIN
        meant = [one for one in living if node in {one.label, one.address} or (is_id and one.node_id.startswith(node))]
        return meant[0].label if len(meant) == 1 else None

    def size(self, sight: Sight, nodes: list[Node], now: float) -> None:
        """Decide how many there should be, if there is an autoscaler to tell: nodes say so by declaring themselves.

        Args:
            nodes: those that Seatline runs on.
        """
        if not any(node.is_declared for node in sight.nodes):
            return
        pulses = _by_label(sight)
        serving = [node for node in nodes if node.label in pulses]
        self._sizing.wanted = self._sizing.wanted or len(nodes)
        self._journal.note(self._sizing.decide(len(serving), pulses, now))
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
            self._chores.begin("request nodes", lambda: self._request(*request))

    async def _request(self, wanted: int, leaving: frozenset[str]) -> None:
        await self._cluster.request_nodes(wanted, leaving)
        self._requested = wanted, leaving


def _by_label(sight: Sight) -> dict[str, dict[str, Pulse]]:
    found: dict[str, dict[str, Pulse]] = {}
    for name, pulse in sight.pulses.items():
        place = placed(name)
        if place is not None:
            found.setdefault(place.label, {})[name] = pulse
    return found
