"""How many nodes there should be, from the load of the processes, the length of queues and the schedule. Pure."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field

from cluster.config.schedule import Opening, scheduled
from cluster.control.journal import ControllerDecision, DecisionKind
from cluster.control.model import Node, Pulse
from cluster.control.names import API_PREFIX

AIM = 0.75


@dataclass(frozen=True, slots=True)
class SizeLimits:
    """When nodes are added, and when they are given back.

    Args:
        nodes_min, nodes_max: never fewer, never more.
        busy_high: nodes are added if the busier kind of process (API servers or section actors) works for at least
            this share of its time.
        waiting_high: nodes are added if at least so many commands and requests wait on a node, however busy it is.
        out_for_s: how long either must have lasted before nodes are added.
        in_for_s: how long one node fewer must have been enough before one is given back.
    """

    nodes_min: int = 2
    nodes_max: int = 20
    busy_high: float = 0.75
    waiting_high: int = 500
    out_for_s: float = 5.0
    in_for_s: float = 300.0

    @property
    def busy_aim(self) -> float:
        """The share of busy time to aim at when adding nodes. Giving back a node may not raise the share to it."""
        return self.busy_high * AIM


@dataclass(slots=True)
class Sizing:
    """Decides how many nodes are wanted. Grows by as many as needed, and shrinks one by one.

    Args:
        wanted: the last decision; 0 before the first.
    """

    limits: SizeLimits
    openings: tuple[Opening, ...] = ()
    wanted: int = 0
    _high_since: float | None = field(default=None, init=False)
    _low_since: float | None = field(default=None, init=False)

    def decide(self, nodes: int, pulses: Mapping[str, Mapping[str, Pulse]], now: float) -> list[ControllerDecision]:
        """Update ``wanted``.

        Args:
            nodes: how many serve now.
            pulses: reports of the actors of each node, by the label of the node.
            now: Unix seconds.

        Returns:
            the decision, if ``wanted`` has changed.
        """
        limits = self.limits
        by_load, reason = self._by_load(nodes, pulses, now)
        by_schedule, scheduled_reason = scheduled(self.openings, now)
        target, reason = (by_schedule, scheduled_reason) if by_schedule > by_load else (by_load, reason)
        bounded = min(max(target, limits.nodes_min), limits.nodes_max)
        if bounded != target:
            reason = f"{reason or 'little to do'}; bounded to {limits.nodes_min} to {limits.nodes_max}"
        if bounded == self.wanted:
            return []
        before, self.wanted = self.wanted, bounded
        return [
            ControllerDecision(now, DecisionKind.SCALE, f"{before} to {bounded} nodes", reason or "the first decision")
        ]

    def _by_load(self, nodes: int, pulses: Mapping[str, Mapping[str, Pulse]], now: float) -> tuple[int, str]:
        current = self.wanted or max(nodes, 1)
        if not pulses or not nodes:
            return current, ""
        busy = max(_busiest(one.values()) for one in _by_kind(pulses))
        waiting = sum(pulse.waiting for of_node in pulses.values() for pulse in of_node.values()) / nodes
        is_high = busy >= self.limits.busy_high or waiting >= self.limits.waiting_high
        is_low = (
            nodes > 1
            and busy * nodes / (nodes - 1) < self.limits.busy_aim
            and waiting < 1 + self.limits.waiting_high / 10
        )
        self._high_since = (self._high_since or now) if is_high else None
        self._low_since = (self._low_since or now) if is_low and nodes == current else None
        if self._high_since is not None and now - self._high_since >= self.limits.out_for_s and nodes >= current:
            more = max(math.ceil(nodes * busy / self.limits.busy_aim), nodes + 1)
            self._high_since = None
            return min(more, nodes * 2), f"{busy:.0%} busy, {waiting:.0f} waiting a node"
        if self._low_since is not None and now - self._low_since >= self.limits.in_for_s and current > 1:
            self._low_since = now
            return current - 1, f"{busy:.0%} busy for {self.limits.in_for_s:.0f} s"
        return current, ""


def _by_kind(pulses: Mapping[str, Mapping[str, Pulse]]) -> list[dict[str, Pulse]]:
    """The reports of the API servers, and those of the section actors: either can be the bottleneck."""
    every = {name: pulse for of_node in pulses.values() for name, pulse in of_node.items()}
    api = {name: pulse for name, pulse in every.items() if name.startswith(API_PREFIX)}
    return [api, {name: pulse for name, pulse in every.items() if name not in api}]


def _busiest(pulses: Collection[Pulse]) -> float:
    return sum(pulse.busy for pulse in pulses) / len(pulses) if pulses else 0.0


def leavers(nodes: Collection[Node], wanted: int, draining: Collection[str], load: Mapping[str, float]) -> list[str]:
    """Labels of the nodes to give back: those with the least load, if more serve than are wanted."""
    serving = [node for node in nodes if node.is_alive and node.label not in draining]
    surplus = len(serving) - wanted
    return [node.label for node in sorted(serving, key=lambda one: load.get(one.label, 0.0))[: max(surplus, 0)]]
