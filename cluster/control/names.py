"""Names of actors: what they are, on which node, of which generation."""

from __future__ import annotations

import re
from dataclasses import dataclass

from cluster.gateway.directory import DEDICATED_PREFIX, POOLED_PREFIX

API_PREFIX = "api-"
CONTROLLER = "controller"

_PLACED = re.compile(r"(?P<prefix>sections-|api-)(?P<label>[a-z0-9]+)-(?P<index>\d+)(?:-(?P<generation>[a-z0-9]+))?")


@dataclass(frozen=True, slots=True)
class Placed:
    """A section actor or an API server that belongs on one node."""

    name: str
    is_api: bool
    label: str
    generation: str


def placed(name: str) -> Placed | None:
    """What a name says; None if it is not of an actor that belongs on a node."""
    match = _PLACED.fullmatch(name)
    if match is None:
        return None
    return Placed(name, match["prefix"] == API_PREFIX, match["label"], match["generation"] or "")


def section_actor_names(label: str, count: int, generation: str) -> tuple[str, ...]:
    """Pooled section actors of a node."""
    return _names(POOLED_PREFIX, label, count, generation)


def api_server_names(label: str, count: int, generation: str) -> tuple[str, ...]:
    """API servers of a node."""
    return _names(API_PREFIX, label, count, generation)


def own_actor_name(section_id: int) -> str:
    """The actor that one section has to itself."""
    return f"{DEDICATED_PREFIX}{section_id}"


def own_section(name: str) -> int | None:
    """The section that an actor is there for alone, if it is one of those."""
    number = name.removeprefix(DEDICATED_PREFIX)
    return int(number) if number != name and number.isdecimal() else None


def _names(prefix: str, label: str, count: int, generation: str) -> tuple[str, ...]:
    end = f"-{generation}" if generation else ""
    return tuple(f"{prefix}{label}-{index}{end}" for index in range(count))
