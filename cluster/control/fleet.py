"""Which actors there should be, on which nodes, and which of them share the sections. Pure."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from cluster.control.model import Node
from cluster.control.names import api_server_names, placed, section_actor_names

BACK_WITHIN_S = 10.0
"""A member that does not answer keeps its sections so long, if its node lives: Ray restarts it where it was."""

START_MAX_S = 60.0
"""An upgrade waits no longer than this for an actor that does not come up."""


@dataclass(frozen=True, slots=True)
class Fleet:
    """What should run: names of actors, and the node of each."""

    sections: Mapping[str, Node] = field(default_factory=dict)
    api_servers: Mapping[str, Node] = field(default_factory=dict)


def eligible(nodes: Iterable[Node], draining: Collection[str]) -> list[Node]:
    """Nodes that Seatline runs on, in a stable order.

    Those that declare themselves, if any does; else all that have CPUs. Not what is on its way out.
    """
    alive = sorted((node for node in nodes if node.is_alive), key=lambda node: node.node_id)
    declared = [node for node in alive if node.is_declared]
    candidates = declared or [node for node in alive if node.cpus > 0]
    return [node for node in candidates if not node.is_leaving and node.label not in draining]


def wanted_fleet(nodes: Sequence[Node], *, actors_per_node: int, api_servers_per_node: int, generation: str) -> Fleet:
    """The actors of these nodes. ``actors_per_node`` is 0 when every section has its own."""
    sections: dict[str, Node] = {}
    api_servers: dict[str, Node] = {}
    for node in nodes:
        sections.update(dict.fromkeys(section_actor_names(node.label, actors_per_node, generation), node))
        api_servers.update(dict.fromkeys(api_server_names(node.label, api_servers_per_node, generation), node))
    return Fleet(sections, api_servers)


@dataclass(frozen=True, slots=True)
class Members:
    """Who shares the sections, and why it changed (empty if it did not)."""

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
        wanted: those that there should be.
        silent_s: of every actor that exists, how long it has not answered; 0 for one that did just now.
        before: those that share them now.
        living: labels of the nodes that are alive.
        draining: labels of the nodes that are to be left.
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
