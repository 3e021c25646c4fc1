"""The desired state: which actors there should be on which nodes, and which of them share the sections. Pure."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from cluster.control.config import ControlConfig
from cluster.control.model import Node
from cluster.control.names import api_server_names, placed, section_actor_names

BACK_WITHIN_S = 10.0
"""A member that does not answer keeps its sections for this long while its node lives: Ray restarts it there."""

START_MAX_S = 60.0
"""An upgrade waits no longer than this for an actor that does not come up."""


@dataclass(frozen=True, slots=True)
class DesiredState:
    """The actors that should run: the node of each, by the actor's name."""

    section_actors: Mapping[str, Node] = field(default_factory=dict)
    api_servers: Mapping[str, Node] = field(default_factory=dict)


def eligible(nodes: Iterable[Node], draining: Collection[str]) -> list[Node]:
    """The nodes that Seatline runs on, in a stable order.

    These are the nodes that declare the resource ``seatline_node``, if any does; else all that have CPUs. Nodes that
    are being drained or taken away are left out.
    """
    alive = sorted((node for node in nodes if node.is_alive), key=lambda node: node.node_id)
    declared = [node for node in alive if node.is_declared]
    candidates = declared or [node for node in alive if node.cpus > 0]
    return [node for node in candidates if not node.is_leaving and node.label not in draining]


def desired_state(config: ControlConfig, nodes: Iterable[Node]) -> DesiredState:
    """The actors that should run on these nodes."""
    section_actors: dict[str, Node] = {}
    api_servers: dict[str, Node] = {}
    for node in nodes:
        actors = section_actor_names(node.label, config.actors_per_node, config.generation)
        servers = api_server_names(node.label, config.api_servers_per_node, config.generation)
        section_actors.update(dict.fromkeys(actors, node))
        api_servers.update(dict.fromkeys(servers, node))
    return DesiredState(section_actors, api_servers)


@dataclass(frozen=True, slots=True)
class Members:
    """The actors that share the sections, and why that changed (empty if it did not)."""

    names: tuple[str, ...]
    reason: str = ""


def members(
    wanted: Collection[str],
    silent_s: Mapping[str, float],
    before: Sequence[str],
    living: Collection[str],
    *,
    draining: Collection[str] = (),
) -> Members:
    """The pooled actors that should share the sections from now on.

    Args:
        wanted: the pooled actors of the desired state.
        silent_s: for every actor that exists, seconds since it last answered; 0 if it answered just now.
        before: the actors that share the sections now.
        living: labels of the nodes that are alive.
        draining: labels of the nodes that are being drained.
    """
    ready = {name for name in wanted if silent_s.get(name) == 0.0 and _label(name) in living}
    kept = [name for name in before if _may_stay(name, silent_s, living)]
    leaving = [name for name in kept if name not in wanted]
    replaced = [name for name in leaving if _label(name) not in draining]
    coming = [name for name in wanted if name not in ready and silent_s.get(name, 0.0) < START_MAX_S]
    if replaced and (coming or not ready):
        # An upgrade: nothing moves to the new ones before all of them can take it.
        names = [name for name in kept if name in replaced or _label(name) not in draining] or kept
    else:
        names = [name for name in wanted if name in ready or name in kept] or kept
    names = sorted(names)
    if not names or names == sorted(before):
        return Members(tuple(before))
    return Members(tuple(names), _reason(set(names) - set(before), set(before) - set(names), living, draining))


def _may_stay(name: str, silent_s: Mapping[str, float], living: Collection[str]) -> bool:
    return _label(name) in living and silent_s.get(name, 0.0) < BACK_WITHIN_S


def _label(name: str) -> str:
    found = placed(name)
    return found.label if found else ""


def _reason(joined: set[str], left: set[str], living: Collection[str], draining: Collection[str]) -> str:
    parts = []
    if joined:
        parts.append(f"{', '.join(sorted(joined))} joined")
    for name in sorted(left):
        label = _label(name)
        why = "its node is gone" if label not in living else "its node is drained" if label in draining else "replaced"
        parts.append(f"{name} left: {why}")
    return "; ".join(parts)
