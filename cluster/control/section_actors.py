"""Section actors: starts those that are missing, ends those that own no sections any more."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial

from cluster.control.background_tasks import FAILURES, BackgroundTasks
from cluster.control.desired_state import DesiredState
from cluster.control.generations import Generations
from cluster.control.journal import DecisionKind, Journal
from cluster.control.names import own_section
from cluster.control.observed_state import ObservedState
from cluster.control.ports import Cluster
from cluster.gateway.directory import DirectoryView


class SectionActors:
    """Reconciles the section actors.

    Args:
        is_dedicated: whether every section has an actor of its own. Such actors are started by API processes, and exit
            by themselves when they are idle.
    """

    def __init__(
        self,
        cluster: Cluster,
        generations: Generations,
        tasks: BackgroundTasks,
        journal: Journal,
        *,
        is_dedicated: bool,
    ) -> None:
        self._cluster = cluster
        self._generations = generations
        self._tasks = tasks
        self._journal = journal
        self._is_dedicated = is_dedicated

    def start_missing(self, desired: DesiredState, observed: ObservedState) -> None:
        """Start the actors that do not exist. One that exists and does not answer is restarted by Ray."""
        for name, node in desired.section_actors.items():
            start = partial(self._cluster.start_section_actor, name, node)
            if name not in observed.names and self._tasks.begin(f"start {name}", start):
                self._journal.record(DecisionKind.START, name, f"there should be one on node {node.label}")

    def retire_unused(
        self,
        desired: DesiredState,
        observed: ObservedState,
        view: DirectoryView,
        is_coming: Callable[[int], bool],
        draining: Mapping[str, str],
    ) -> None:
        """End the actors that own no sections any more.

        Call it only once every API server uses ``view``: until then requests are still sent to those actors.

        Args:
            is_coming: whether an actor for this one section is being started: it will be in a later view.
            draining: reasons by the labels of the nodes that are being drained.
        """
        needed = {*desired.section_actors, *view.pooled, *view.pins.values(), *observed.api_servers()}
        for name in sorted(observed.names - needed):
            section_id = own_section(name)
            if section_id is None or self._may_end_own(name, section_id, observed, is_coming):
                self._tasks.begin(f"end {name}", partial(self._end, name, draining))

    def _may_end_own(
        self, name: str, section_id: int, observed: ObservedState, is_coming: Callable[[int], bool]
    ) -> bool:
        if self._is_dedicated:  # these end by themselves, except those that run old code
            return self._generations.is_outdated(name) and self._generations.are_current(observed.api_servers())
        return not is_coming(section_id)

    async def _end(self, name: str, draining: Mapping[str, str]) -> None:
        if not self._is_dedicated:
            try:
                if await self._cluster.active_sections(name):
                    return  # they are moved first
            except FAILURES:
                pass  # it does not answer, so it cannot be asked to hand over either
        self._journal.record(DecisionKind.RETIRE, name, self._generations.why_retired(name, draining))
        await self._cluster.stop(name)
        self._generations.ended(name)
