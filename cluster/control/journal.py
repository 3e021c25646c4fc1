"""The decisions of the controller: what was decided, and why. For its log, its metrics and `seatline status`."""

from __future__ import annotations

import enum
import logging
from collections import Counter, deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

log = logging.getLogger(__name__)


class DecisionKind(enum.StrEnum):
    """The kind of a decision. The values are labels of a metric."""

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
class ControllerDecision:
    """Something that the controller decided, when, and why.

    Args:
        at: Unix seconds.
        subject: the actor, node, section or view that it is about.
    """

    at: float
    kind: DecisionKind
    subject: str
    reason: str


@dataclass(slots=True)
class Journal:
    """The last decisions, and how many there were of each kind.

    Args:
        now: Unix seconds.
        kept_max: older decisions are forgotten beyond so many.
    """

    now: Callable[[], float]
    kept_max: int = 200
    totals: Counter[str] = field(default_factory=Counter)
    _kept: deque[ControllerDecision] = field(init=False)

    def __post_init__(self) -> None:
        """Make the bounded list."""
        self._kept = deque(maxlen=self.kept_max)

    def record(self, kind: DecisionKind, subject: str, reason: str) -> None:
        """Add a decision that was made just now."""
        self.extend([ControllerDecision(self.now(), kind, subject, reason)])

    def extend(self, decisions: Iterable[ControllerDecision]) -> None:
        """Add and log decisions."""
        for one in decisions:
            log.info("%s %s: %s", one.kind.value, one.subject, one.reason)
            self._kept.append(one)
            self.totals[one.kind.value] += 1

    @property
    def recent(self) -> list[ControllerDecision]:
        """The last decisions, the oldest first."""
        return list(self._kept)
