"""What the controller knows, as plain values for whoever looks at it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from cluster.control.config import ControlConfig
from cluster.control.model import Decision
from cluster.control.names import own_section, placed
from cluster.control.settling import Settled
from cluster.control.sight import Sight
from cluster.gateway.directory import DirectoryView

HOTTEST = 10
DECISIONS = 30


def status_of(
    config: ControlConfig,
    sight: Sight | None,
    view: DirectoryView | None,
    *,
    draining: Mapping[str, str],
    nodes_wanted: int,
    decisions: Sequence[Decision],
    settled: Settled,
    failed_looks: int,
) -> dict[str, Any]:
    """Nodes, actors, sections, the hot ones, what waits, and the last decisions."""
    actors = _actors(sight, view)
    section_actors = [one for one in actors if one["kind"] != "api"]
    return {
        "placement": config.placement.value,
        "generation": config.generation,
        "view_version": view.version if view is not None else 0,
        "failed_looks": failed_looks,
        "nodes_wanted": nodes_wanted,
        "nodes": _nodes(sight, draining),
        "actors": actors,
        "sections": {
            "active": sum(one["sections"] for one in section_actors),
            "with_own_actor": len(view.pins) if view is not None else 0,
            "last_moved": settled.misplaced,
        },
        "commands_per_s": round(sum(one["commands_per_s"] for one in section_actors), 1),
        "requests_per_s": round(sum(one["commands_per_s"] for one in actors if one["kind"] == "api"), 1),
        "waiting": sum(one["waiting"] for one in actors),
        "p99_ms": max((one["p99_ms"] for one in actors), default=0.0),
        "hottest": _hottest(sight),
        "openings": [asdict(one) for one in config.openings],
        "decisions": [asdict(one) for one in decisions[-DECISIONS:]],
    }


def _nodes(sight: Sight | None, draining: Mapping[str, str]) -> list[dict[str, Any]]:
    if sight is None:
        return []
    return [
        {
            "label": node.label,
            "node_id": node.node_id,
            "address": node.address,
            "cpus": node.cpus,
            "is_declared": node.is_declared,
            "draining": draining.get(node.label, ""),
        }
        for node in sight.nodes
        if node.is_alive
    ]


def _actors(sight: Sight | None, view: DirectoryView | None) -> list[dict[str, Any]]:
    if sight is None:
        return []
    members = {*view.pooled, *view.pins.values()} if view is not None else set()
    found = []
    for name in sorted(sight.names):
        place = placed(name)
        pulse = sight.pulses.get(name)
        found.append(
            {
                "name": name,
                "kind": "own" if place is None else "api" if place.is_api else "pooled",
                "node": place.label if place is not None else "",
                "generation": place.generation if place is not None else "",
                "is_member": name in members,
                "silent_s": round(sight.silent_s.get(name, 0.0), 1),
                "busy": round(pulse.busy, 3) if pulse else 0.0,
                "waiting": pulse.waiting if pulse else 0,
                "commands_per_s": round(pulse.commands_per_s, 1) if pulse else 0.0,
                "sections": pulse.sections if pulse else 0,
                "view_version": pulse.view_version if pulse else 0,
                "port": pulse.port if pulse else None,
                "p99_ms": pulse.p99_ms if pulse else 0.0,
            }
        )
    return found


def _hottest(sight: Sight | None) -> list[dict[str, Any]]:
    if sight is None:
        return []
    every = [(per_s, one, name) for name, pulse in sight.pulses.items() for one, per_s in pulse.hottest if per_s >= 0.1]
    return [
        {"section_id": one, "commands_per_s": round(per_s, 1), "actor": name, "has_own": own_section(name) == one}
        for per_s, one, name in sorted(every, reverse=True)[:HOTTEST]
    ]
