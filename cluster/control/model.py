"""What the controller knows of the world, as plain values."""

from __future__ import annotations

from dataclasses import dataclass, field
from types import SimpleNamespace

from allocator.turns.heat import ActorHeat

LABEL_CHARACTERS = 12
"""How many characters of a node's id its label has: the last ones, as the ids of Ray's test providers begin alike."""

SEATLINE_NODE = "seatline_node"
"""The Ray resource of a node that is there for Seatline. The autoscaler is asked for nodes that have it."""


@dataclass(frozen=True, slots=True)
class Node:
    """A node of the Ray cluster.

    Args:
        node_id: Ray's id, in hexadecimal.
        label: its part of the names of actors.
        is_leaving: Ray itself is about to take it away.
        is_declared: it has the resource ``seatline_node``.
    """

    node_id: str
    label: str
    address: str = "127.0.0.1"
    cpus: float = 1.0
    is_alive: bool = True
    is_leaving: bool = False
    is_declared: bool = False


@dataclass(frozen=True, slots=True)
class Pulse:
    """What a living actor reported a moment ago.

    Args:
        busy: share of its time in which it worked, 0 to 1.
        waiting: commands or requests that wait in it.
        commands_per_s: commands or requests that it answered lately, per second.
        others_per_s: section actors: the part of ``commands_per_s`` that was not for the busiest section of the moment.
        sections: section actors: active sections.
        hottest: section actors: section ids with their commands per second, the hottest first.
        view_version: API servers: the version of the directory view in use.
        port: API servers: the port on which it listens; None while it does not.
        p99_ms: API servers: 99th percentile of enrolments lately, rounded up to a bucket; 0 without any.
    """

    busy: float = 0.0
    waiting: int = 0
    commands_per_s: float = 0.0
    sections: int = 0
    hottest: tuple[tuple[int, float], ...] = ()
    view_version: int = 0
    port: int | None = None
    p99_ms: float = 0.0
    others_per_s: float = 0.0

    @classmethod
    def of_section_actor(cls, heat: ActorHeat | SimpleNamespace) -> Pulse:
        """The report of a section actor.

        Args:
            heat: the fields of ``ActorHeat``, as ``SectionActor.heat`` sends them.
        """
        return cls(
            busy=heat.busy,
            waiting=heat.inbox,
            commands_per_s=heat.commands_per_s,
            others_per_s=heat.others_per_s,
            sections=heat.sections,
            hottest=tuple(heat.hottest),
        )


@dataclass(frozen=True, slots=True)
class Remembered:
    """What outlives a controller, if Redis does.

    Args:
        generation: generation of its actors; pins of another generation are not restored.
        version: version of its newest directory view.
        pins: actors by section id.
        draining: why nodes are being drained, by their ids: labels may be used again.
        nodes_wanted: the last decision on the number of nodes.
    """

    generation: str = ""
    version: int = 0
    pins: dict[int, str] = field(default_factory=dict)
    draining: dict[str, str] = field(default_factory=dict)
    nodes_wanted: int = 0
