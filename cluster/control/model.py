"""What the controller sees and what it decides, as values."""

from __future__ import annotations

import enum
import logging
from collections import Counter, deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from allocator.turns.heat import ActorHeat

log = logging.getLogger(__name__)

LABEL_CHARACTERS = 12
"""Of a node's id, as it stands in names: the last ones, which tell the nodes apart that Ray's test providers make."""

SEATLINE_NODE = "seatline_node"
"""The resource by which a node says that it is there for Seatline. The autoscaler is asked for it."""


@dataclass(frozen=True, slots=True)
class Node:
    """A node of the Ray cluster.

    Args:
        node_id: Ray's, in hexadecimal.
        label: how it is called in names of actors.
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
    """What a living actor said of itself a moment ago.

    Args:
        busy: share of its time in which it worked, 0 to 1.
        waiting: commands or requests that wait in it.
        commands_per_s: what it decided or answered lately.
        others_per_s: of a section actor, how much of that was not for the busiest section of its moment.
        sections: active ones; 0 for an API server.
        hottest: of a section actor, sections with their commands a second, the hottest first.
        view_version: of an API server, the directory that it goes by.
        port: of an API server, where it listens; None while it does not.
        p99_ms: of an API server, what 99 of 100 enrolments took at most lately, rounded up to a bucket; 0 without any.
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
    def of_section_actor(cls, heat: ActorHeat) -> Pulse:
        """What a section actor's drain loop says."""
        return cls(
            busy=heat.busy,
            waiting=heat.inbox,
            commands_per_s=heat.commands_per_s,
            others_per_s=heat.others_per_s,
            sections=heat.sections,
            hottest=tuple(heat.hottest),
        )


class Kind(enum.StrEnum):
    """Of a decision; part of the metrics."""

    START = "start"
    RESTART = "restart"
    RETIRE = "retire"
    VIEW = "view"
    PIN = "pin"
    UNPIN = "unpin"
    SCALE = "scale"
    DRAIN = "drain"
    UNDRAIN = "undrain"
    NODE_LOST = "node_lost"
    MOVE = "move"


@dataclass(frozen=True, slots=True)
class Decision:
    """Something that was decided, and why."""

    at: float
    kind: Kind
    subject: str
    reason: str


@dataclass(slots=True)
class Journal:
    """The last decisions, and how many there were of each kind.

    Args:
        now: Unix seconds.
    """

    now: Callable[[], float]
    kept_max: int = 200
    totals: Counter[str] = field(default_factory=Counter)
    _kept: deque[Decision] = field(init=False)

    def __post_init__(self) -> None:
        """Bounded, whatever happens."""
        self._kept = deque(maxlen=self.kept_max)

    def decide(self, kind: Kind, subject: str, reason: str) -> None:
        """Something was decided just now."""
        self.note([Decision(self.now(), kind, subject, reason)])

    def note(self, decisions: Iterable[Decision]) -> None:
        """Remember."""
        for one in decisions:
            log.info("%s %s: %s", one.kind.value, one.subject, one.reason)
            self._kept.append(one)
            self.totals[one.kind.value] += 1

    @property
    def recent(self) -> list[Decision]:
        """The oldest first."""
        return list(self._kept)


@dataclass(frozen=True, slots=True)
class Remembered:
    """What outlives a controller, if Redis does.

    Args:
        generation: of actors; pins of another one are not taken up again.
        version: of the newest view.
        pins: actors by section id.
        draining: why, by id of the node: a label may be used again.
        nodes_wanted: the last decision on the number of nodes.
    """

    generation: str = ""
    version: int = 0
    pins: dict[int, str] = field(default_factory=dict)
    draining: dict[str, str] = field(default_factory=dict)
    nodes_wanted: int = 0
