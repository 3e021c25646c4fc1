"""The sections that have an actor of their own, because they run hot."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial

from cluster.control.chores import Chores
from cluster.control.heat import HeatWatch
from cluster.control.model import Journal, Kind, Pulse
from cluster.control.names import own_actor_name
from cluster.control.ports import Cluster
from cluster.control.sight import Sight

SILENT_S = 5.0
"""A section whose own actor does not answer for so long goes back to the others."""


class HotSections:
    """Args:
    watch: decides which sections are hot.
    """

    def __init__(self, cluster: Cluster, watch: HeatWatch, chores: Chores, journal: Journal) -> None:
        self._cluster = cluster
        self._watch = watch
        self._chores = chores
        self._journal = journal
        self._pins: dict[int, str] = {}

    @property
    def pins(self) -> Mapping[int, str]:
        """Their actors, by section."""
        return self._pins

    def restore(self, sight: Sight, pins: Mapping[int, str]) -> None:
        """Take up what was decided before, where the actors still are."""
        self._pins = {section_id: name for section_id, name in pins.items() if name in sight.names}

    def drop_lost(self, sight: Sight) -> None:
        """Give those back to the others whose own actors are gone."""
        for section_id, name in list(self._pins.items()):
            if name not in sight.names or sight.silent_s.get(name, 0.0) >= SILENT_S:
                self._unpin(section_id, "its own actor is gone")

    def look(self, pulses: Mapping[str, Pulse], now: float) -> None:
        """Pin what has become hot, and take back what has cooled.

        Args:
            pulses: of section actors.
        """
        for decision in self._watch.look(pulses, self._pins, now):
            section_id = int(decision.subject)
            if decision.kind is Kind.UNPIN:
                self._unpin(section_id, decision.reason)
            elif self._chores.begin(f"pin {section_id}", partial(self._pin, section_id)):
                self._journal.decide(Kind.PIN, decision.subject, decision.reason)

    def is_coming(self, section_id: int) -> bool:
        """Whether its own actor is being started."""
        return self._chores.is_running(f"pin {section_id}")

    async def _pin(self, section_id: int) -> None:
        name = own_actor_name(section_id)
        await self._cluster.start_section_actor(name, None)
        self._pins[section_id] = name

    def _unpin(self, section_id: int, reason: str) -> None:
        del self._pins[section_id]
        self._journal.decide(Kind.UNPIN, str(section_id), reason)
