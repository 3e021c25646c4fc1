"""Names of actors. A name tells the kind of the actor, its node and its generation."""

from __future__ import annotations

import re
from dataclasses import dataclass

from cluster.gateway.directory import DEDICATED_PREFIX, POOLED_PREFIX

API_PREFIX = "api-"
CONTROLLER = "controller"

_PLACED = re.compile(
    rf"(?P<prefix>{re.escape(POOLED_PREFIX)}|{re.escape(API_PREFIX)})(?P<label>[a-z0-9]+)-(?P<index>\d+)(?:-(?P<generation>[a-z0-9]+))?"
)


@dataclass(frozen=True, slots=True)
class Placed:
    """A section actor or an API server that belongs on one node."""

    name: str
    is_api: bool
    label: str
    generation: str


def placed(name: str) -> Placed | None:
    """The actor of this name; None if it is not the name of an actor that belongs on a node."""
    match = _PLACED.fullmatch(name)
    if match is None:
        return None
    return Placed(name, match["prefix"] == API_PREFIX, match["label"], match["generation"] or "")


def section_actor_names(label: str, count: int, generation: str) -> tuple[str, ...]:
    """Names of the pooled section actors of a node."""
    return _names(POOLED_PREFIX, label, count, generation)


def api_server_names(label: str, count: int, generation: str) -> tuple[str, ...]:
    """Names of the API servers of a node."""
    return _names(API_PREFIX, label, count, generation)


def own_actor_name(section_id: int) -> str:
    """The name of the actor that a section has to itself."""
    return f"{DEDICATED_PREFIX}{section_id}"


def own_section(name: str) -> int | None:
    """The section that has this actor to itself; None if this is another kind of actor."""
    number = name.removeprefix(DEDICATED_PREFIX)
    return int(number) if number != name and number.isdecimal() else None


def _names(prefix: str, label: str, count: int, generation: str) -> tuple[str, ...]:
    end = f"-{generation}" if generation else ""
    return tuple(f"{prefix}{label}-{index}{end}" for index in range(count))
