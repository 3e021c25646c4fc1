"""What the controller observes of the cluster in one pass: its nodes, its actors, and what each actor reports."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from cluster.control.model import Node, Pulse
from cluster.control.names import own_section, placed
from cluster.control.ports import Cluster
from cluster.gateway.errors import ActorLostError


@dataclass(frozen=True, slots=True)
class ObservedState:
    """The cluster as it was observed at one moment.

    Args:
        nodes: all nodes, dead ones included.
        names: section actors and API servers that are not dead for good.
        pulses: reports of the actors that answered.
        silent_s: for each actor, seconds since it last answered; 0 if it answered just now.
    """

    nodes: tuple[Node, ...]
    names: frozenset[str]
    pulses: Mapping[str, Pulse]
    silent_s: Mapping[str, float]

    @property
    def living(self) -> set[str]:
        """Labels of the nodes that are alive."""
        return {node.label for node in self.nodes if node.is_alive}

    def api_servers(self) -> list[str]:
        """Names of the API servers that are not dead for good."""
        return sorted(name for name in self.names if (found := placed(name)) is not None and found.is_api)

    def section_actors(self) -> list[str]:
        """Names of the section actors that answered."""
        return sorted(name for name in self.pulses if (found := placed(name)) is None or not found.is_api)

    def listening(self) -> dict[str, int]:
        """Ports of the API servers that listen."""
        return {
            name: pulse.port
            for name, pulse in self.pulses.items()
            if pulse.port is not None and (found := placed(name)) is not None and found.is_api
        }


class Observer:
    """Observes the cluster, and remembers when each actor last answered.

    Args:
        asks_own: whether to ask actors of single sections, too. In dedicated placement that would be a call every
            second to a process for every section.
    """

    def __init__(self, cluster: Cluster, monotonic: Callable[[], float], *, asks_own: bool) -> None:
        self._cluster = cluster
        self._monotonic = monotonic
        self._asks_own = asks_own
        self._answered_at: dict[str, float] = {}

    async def observe(self) -> ObservedState:
        """The state of the cluster now.

        Raises:
            ClusterAwayError, OSError, TimeoutError: if the cluster cannot be asked.
        """
        nodes, every = await asyncio.gather(self._cluster.nodes(), self._cluster.actor_names())
        names = frozenset(name for name in every if placed(name) or own_section(name) is not None)
        asked = sorted(name for name in names if self._asks_own or own_section(name) is None)
        answers = await asyncio.gather(*(self._pulse(name) for name in asked))
        pulses = {name: pulse for name, pulse in zip(asked, answers, strict=True) if pulse is not None}
        return ObservedState(tuple(nodes), names, pulses, self._silent_s(asked, pulses))

    async def _pulse(self, name: str) -> Pulse | None:
        try:
            return await self._cluster.pulse(name)
        except (ActorLostError, TimeoutError):
            return None

    def _silent_s(self, asked: list[str], pulses: Mapping[str, Pulse]) -> dict[str, float]:
        now = self._monotonic()
        self._answered_at = {name: now if name in pulses else self._answered_at.get(name, now) for name in asked}
        # An actor that has never answered is silent from its first observation on, if only for a moment.
        return {name: 0.0 if name in pulses else max(now - self._answered_at[name], 0.001) for name in asked}
