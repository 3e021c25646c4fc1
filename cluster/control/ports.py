"""What the controller needs of the world. Implemented on Ray in ray_cluster.py; tests pass fakes.

Every method has its own deadline. What does not answer raises ``ActorLostError`` of cluster/gateway/gateway.py;
``OSError``, ``TimeoutError`` or ``ClusterAwayError`` say that the cluster itself could not be asked.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Protocol

from cluster.control.model import Node, Pulse, Remembered


class ClusterAwayError(Exception):
    """The cluster cannot be asked or told anything now."""


class Cluster(Protocol):
    """The nodes and actors of a Ray cluster."""

    async def nodes(self) -> list[Node]:
        """All nodes, dead ones too."""

    async def actor_names(self) -> set[str]:
        """Names of all actors that are not dead for good."""

    async def start_section_actor(self, name: str, node: Node | None) -> None:
        """Start a section actor on a node (None: wherever there is room), or find it; return once it can work."""

    async def start_api_server(self, name: str, node: Node, port: int | None) -> int:
        """Start an API server on a node, or find it; return the port once it listens. None: the configured one."""

    async def pulse(self, name: str) -> Pulse:
        """What an actor says of itself."""

    async def active_sections(self, name: str) -> list[int]:
        """Ids of the sections that a section actor has in memory."""

    async def hand_over(self, name: str, moves: Mapping[int, str]) -> int:
        """Have a section actor let sections go to the owners named; how many it had."""

    async def take(self, name: str, section_ids: Sequence[int]) -> int:
        """Have a section actor activate sections; how many became active."""

    async def stop(self, name: str, drain_s: float = 0.0) -> None:
        """Have an actor finish what it does, and end it. One that does not answer is ended all the same."""

    async def request_nodes(self, count: int, leaving: Collection[str]) -> None:
        """Ask the autoscaler for so many nodes for Seatline in all.

        Args:
            leaving: ids of nodes that do not count: they may be ended as soon as they are idle.
        """


class LoadBalancer(Protocol):
    """What spreads requests over nodes. Called off the serving path; a failure is tried again."""

    async def register(self, node_ip: str, port: int) -> None:
        """Send requests there from now on. Again changes nothing."""

    async def deregister(self, node_ip: str, port: int) -> None:
        """Send no new requests there. Again changes nothing."""


class NoLoadBalancer:
    """There is none, or it looks for itself (``/health``)."""

    async def register(self, node_ip: str, port: int) -> None:
        """Nothing to do."""

    async def deregister(self, node_ip: str, port: int) -> None:
        """Nothing to do."""


class StateStore(Protocol):
    """Keeps what the controller would like to remember. A hint: no method raises."""

    async def load(self) -> Remembered | None:
        """What was saved last, or None."""

    async def save(self, state: Remembered) -> None:
        """Save, or not."""

    async def bury(self, actors: Collection[str]) -> None:
        """Have nobody wait for the leases of these actors: their nodes were given up, and their names are used up."""
