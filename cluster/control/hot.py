"""The sections that have an actor of their own, because they run hot."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial

from cluster.control.background_tasks import BackgroundTasks
from cluster.control.heat import HeatWatch
from cluster.control.journal import DecisionKind, Journal
from cluster.control.names import own_actor_name
from cluster.control.observed_state import ObservedState
from cluster.control.ports import Cluster

SILENT_S = 5.0
"""A section whose own actor has not answered for this long goes back to the pooled actors."""


class HotSections:
    """Pins hot sections to actors of their own, and takes them back.

    Args:
        watch: decides which sections are hot.
    """

    def __init__(self, cluster: Cluster, watch: HeatWatch, tasks: BackgroundTasks, journal: Journal) -> None:
        self._cluster = cluster
        self._watch = watch
        self._tasks = tasks
        self._journal = journal
        self._pins: dict[int, str] = {}

    @property
    def pins(self) -> Mapping[int, str]:
        """Their actors by section id."""
        return self._pins

    def restore(self, observed: ObservedState, pins: Mapping[int, str]) -> None:
        """Take over earlier pins whose actors still exist."""
        self._pins = {section_id: name for section_id, name in pins.items() if name in observed.names}

    def drop_lost(self, observed: ObservedState) -> None:
        """Give sections back to the pooled actors if their own are gone."""
        for section_id, name in list(self._pins.items()):
            if name not in observed.names or observed.silent_s.get(name, 0.0) >= SILENT_S:
                self._unpin(section_id, "its own actor is gone")

    def update(self, observed: ObservedState, now: float) -> None:
        """Pin sections that have become hot, and take back those that have cooled.

        Args:
            now: monotonic seconds.
        """
        pulses = {name: observed.pulses[name] for name in observed.section_actors()}
        for decision in self._watch.decide(pulses, self._pins, now):
            section_id = int(decision.subject)
            if decision.kind is DecisionKind.UNPIN:
                self._unpin(section_id, decision.reason)
            elif self._tasks.begin(f"pin {section_id}", partial(self._pin, section_id)):
                self._journal.record(DecisionKind.PIN, decision.subject, decision.reason)

    def is_coming(self, section_id: int) -> bool:
        """Whether an actor for this section is being started."""
        return self._tasks.is_running(f"pin {section_id}")

    async def _pin(self, section_id: int) -> None:
        name = own_actor_name(section_id)
        await self._cluster.start_section_actor(name, None)
        self._pins[section_id] = name

    def _unpin(self, section_id: int, reason: str) -> None:
        del self._pins[section_id]
        self._journal.record(DecisionKind.UNPIN, str(section_id), reason)
