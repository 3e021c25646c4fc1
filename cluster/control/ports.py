"""What the controller needs of the outside world. Implemented in cluster/processes/ray_cluster.py, cluster/aws and
redis_state.py; tests pass fakes.

Every method has its own deadline. ``ActorLostError`` of cluster/gateway/errors.py means that an actor did not answer;
``OSError``, ``TimeoutError`` or ``ClusterAwayError`` mean that the cluster itself could not be asked.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Protocol

from cluster.control.model import Node, Pulse, Remembered


class ClusterAwayError(Exception):
    """The cluster cannot be reached now."""


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
        """The report of an actor on itself."""

    async def active_sections(self, name: str) -> list[int]:
        """Ids of the sections that a section actor has in memory."""

    async def hand_over(self, name: str, moves: Mapping[int, str]) -> int:
        """Have a section actor release sections, and name their new owners to whoever asks.

        Returns:
            how many of them were active in it.
        """

    async def take(self, name: str, section_ids: Sequence[int]) -> int:
        """Have a section actor activate sections; how many became active."""

    async def stop(self, name: str, drain_s: float = 0.0) -> None:
        """Have an actor finish its work, then end it. An actor that does not answer is ended all the same."""

    async def request_nodes(self, count: int, leaving: Collection[str]) -> None:
        """Ask the autoscaler for nodes.

        Args:
            count: how many there should be for Seatline in all.
            leaving: ids of nodes that do not count: they may be ended as soon as they are idle.
        """


class LoadBalancer(Protocol):
    """Spreads requests over nodes. A call that fails is made again."""

    async def register(self, node_ip: str, port: int) -> None:
        """Send requests there from now on. Again changes nothing."""

    async def deregister(self, node_ip: str, port: int) -> None:
        """Send no new requests there. Again changes nothing."""


class NoLoadBalancer:
    """For a Seatline without a load balancer, or with one that only asks ``/health``."""

    async def register(self, node_ip: str, port: int) -> None:
        """Nothing to do."""

    async def deregister(self, node_ip: str, port: int) -> None:
        """Nothing to do."""


class StateStore(Protocol):
    """Keeps what outlives a controller. Only a hint, so no method raises."""

    async def load(self) -> Remembered | None:
        """What was saved last, or None."""

    async def save(self, state: Remembered) -> None:
        """Save, if the store can be reached."""

    async def bury(self, actors: Collection[str]) -> None:
        """Let nobody wait for the leases of these actors: their nodes are lost, and nobody takes their names again."""
