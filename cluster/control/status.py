"""What the controller tells others: its status, its figures, and whether everything runs. Plain values."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from cluster.control.config import ControlConfig
from cluster.control.desired_state import DesiredState
from cluster.control.generations import Generations
from cluster.control.journal import ControllerDecision
from cluster.control.misplaced import MovedSections
from cluster.control.names import own_section, placed
from cluster.control.observed_state import ObservedState
from cluster.gateway.directory import DirectoryView

HOTTEST = 10
DECISIONS = 30


def is_complete(observed: ObservedState | None, desired: DesiredState, generations: Generations) -> bool:
    """Whether everything that should run does and serves, and nothing of an older generation runs any more."""
    if observed is None or not desired.api_servers:
        return False
    listening = observed.listening()
    return (
        all(name in listening for name in desired.api_servers)
        and all(observed.silent_s.get(name) == 0.0 for name in desired.section_actors)
        and generations.are_current(observed.names)
    )


def status_of(
    config: ControlConfig,
    observed: ObservedState | None,
    view: DirectoryView | None,
    *,
    draining: Mapping[str, str],
    nodes_wanted: int,
    decisions: Sequence[ControllerDecision],
    moved: MovedSections,
    failed_observations: int,
) -> dict[str, Any]:
    """Nodes, actors, sections, the busiest sections, what waits, and the last decisions."""
    actors = _actors(observed, view)
    section_actors = [one for one in actors if one["kind"] != "api"]
    return {
        "placement": config.placement.value,
        "generation": config.generation,
        "view_version": view.version if view is not None else 0,
        "failed_looks": failed_observations,
        "nodes_wanted": nodes_wanted,
        "nodes": _nodes(observed, draining),
        "actors": actors,
        "sections": {
            "active": sum(one["sections"] for one in section_actors),
            "with_own_actor": len(view.pins) if view is not None else 0,
            "last_moved": moved.misplaced,
        },
        "commands_per_s": round(sum(one["commands_per_s"] for one in section_actors), 1),
        "requests_per_s": round(sum(one["commands_per_s"] for one in actors if one["kind"] == "api"), 1),
        "waiting": sum(one["waiting"] for one in actors),
        "p99_ms": max((one["p99_ms"] for one in actors), default=0.0),
        "hottest": _hottest(observed),
        "openings": [asdict(one) for one in config.openings],
        "decisions": [asdict(one) for one in decisions[-DECISIONS:]],
    }


def _nodes(observed: ObservedState | None, draining: Mapping[str, str]) -> list[dict[str, Any]]:
    if observed is None:
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
        for node in observed.nodes
        if node.is_alive
    ]


def _actors(observed: ObservedState | None, view: DirectoryView | None) -> list[dict[str, Any]]:
    if observed is None:
        return []
    members = {*view.pooled, *view.pins.values()} if view is not None else set()
    found = []
    for name in sorted(observed.names):
        place = placed(name)
        pulse = observed.pulses.get(name)
        found.append(
            {
                "name": name,
                "kind": "own" if place is None else "api" if place.is_api else "pooled",
                "node": place.label if place is not None else "",
                "generation": place.generation if place is not None else "",
                "is_member": name in members,
                "silent_s": round(observed.silent_s.get(name, 0.0), 1),
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


def _hottest(observed: ObservedState | None) -> list[dict[str, Any]]:
    if observed is None:
        return []
    every = [
        (per_s, one, name) for name, pulse in observed.pulses.items() for one, per_s in pulse.hottest if per_s >= 0.1
    ]
    return [
        {"section_id": one, "commands_per_s": round(per_s, 1), "actor": name, "has_own": own_section(name) == one}
        for per_s, one, name in sorted(every, reverse=True)[:HOTTEST]
    ]


def stats_of(
    observed: ObservedState | None,
    view: DirectoryView | None,
    *,
    draining: Mapping[str, str],
    nodes_wanted: int,
    totals: Mapping[str, int],
    pins: Mapping[int, str],
    failed_observations: int,
) -> dict[str, Any]:
    """Figures for ``/metrics``, in the form of the section actors' figures."""
    return {
        "actor": "controller",
        "view_version": view.version if view is not None else 0,
        "members": len(view.pooled) if view is not None else 0,
        "pins": len(pins),
        "nodes": len(observed.living) if observed is not None else 0,
        "nodes_draining": len(draining),
        "nodes_wanted": nodes_wanted,
        "actors": _by_kind(observed),
        "failed_looks": failed_observations,
        "decisions": dict(totals),
    }


def _by_kind(observed: ObservedState | None) -> Mapping[str, int]:
    if observed is None:
        return {}
    api = len(observed.api_servers())
    own = sum(own_section(name) is not None for name in observed.names)
    return Counter(api=api, own=own, pooled=len(observed.names) - api - own)
