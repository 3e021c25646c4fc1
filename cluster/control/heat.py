"""``auto`` placement: which sections run so hot that they get an actor of their own. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from cluster.control.journal import ControllerDecision, DecisionKind
from cluster.control.model import Pulse
from cluster.control.names import own_section


@dataclass(frozen=True, slots=True)
class HeatLimits:
    """When a section gets an actor of its own, and when it goes back to the pooled ones.

    A section is hot if it reaches both ``hot_share`` and ``hot_per_s``.

    Args:
        hot_share: share of its actor's commands, 0 to 1.
        hot_per_s: commands per second.
        hot_for_s: how long it must have been hot before it gets an actor.
        cool_for_s: how long it must have been below half of ``hot_per_s`` before it goes back.
        pins_max: how many sections may have an actor of their own at one time.
    """

    hot_share: float = 0.4
    hot_per_s: float = 100.0
    hot_for_s: float = 3.0
    cool_for_s: float = 30.0
    pins_max: int = 8


OTHERS_SHARE = 0.05
"""The share of its actor's commands that must be for other sections. A section that is nearly alone in its actor slows
nobody down, so another process would only cost the machine more."""
COOL_SHARE = 0.5
"""Share of ``hot_per_s`` below which a section has cooled. The gap keeps a section that is barely hot from moving to
and fro."""


@dataclass(slots=True)
class HeatWatch:
    """Decides about pins. It remembers since when sections have been hot, or their own actors cool."""

    limits: HeatLimits
    _hot_since: dict[int, float] = field(default_factory=dict)
    _cool_since: dict[int, float] = field(default_factory=dict)

    def decide(self, pulses: Mapping[str, Pulse], pins: Iterable[int], now: float) -> list[ControllerDecision]:
        """Which sections to pin, and which to take back.

        Args:
            pulses: reports of the section actors that answered, by their names. Nothing is concluded about others.
            pins: sections that have their own actors already.
            now: monotonic seconds.
        """
        pinned = set(pins)
        back = [one for one in sorted(pinned) if self._has_cooled(one, pulses, now)]
        self._cool_since = {one: since for one, since in self._cool_since.items() if one in pinned}
        hot = self._hot(pulses, pinned)
        answered = {name for name in pulses if own_section(name) is None}
        self._hot_since = {one: self._hot_since.get(one, now) for one in hot} if answered else self._hot_since
        room = self.limits.pins_max - len(pinned) + len(back)
        due = sorted(
            (one for one in hot if now - self._hot_since[one] >= self.limits.hot_for_s),
            key=hot.__getitem__,
            reverse=True,
        )
        decisions = []
        for one in back:
            reason = f"below {self._cool_per_s:.0f} commands/s for {now - self._cool_since[one]:.0f} s"
            decisions.append(ControllerDecision(now, DecisionKind.UNPIN, str(one), reason))
        for one in due[: max(room, 0)]:
            reason = f"{hot[one]:.0f} commands/s for {now - self._hot_since[one]:.0f} s"
            decisions.append(ControllerDecision(now, DecisionKind.PIN, str(one), reason))
        return decisions

    @property
    def _cool_per_s(self) -> float:
        return self.limits.hot_per_s * COOL_SHARE

    def _hot(self, pulses: Mapping[str, Pulse], pinned: set[int]) -> dict[int, float]:
        found = {}
        for name, pulse in pulses.items():
            if own_section(name) is not None:
                continue
            if pulse.others_per_s < OTHERS_SHARE * pulse.commands_per_s:
                continue
            for section_id, per_s in pulse.hottest:
                is_share = per_s >= self.limits.hot_share * pulse.commands_per_s
                if is_share and per_s >= self.limits.hot_per_s and section_id not in pinned:
                    found[section_id] = per_s
        return found

    def _has_cooled(self, section_id: int, pulses: Mapping[str, Pulse], now: float) -> bool:
        rates = [pulse.commands_per_s for name, pulse in pulses.items() if own_section(name) == section_id]
        if not rates:
            return False
        if max(rates) >= self._cool_per_s:
            self._cool_since.pop(section_id, None)
            return False
        return now - self._cool_since.setdefault(section_id, now) >= self.limits.cool_for_s
