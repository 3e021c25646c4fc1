"""API servers: starts those that are missing or do not listen, and rolls out a new generation node by node."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial

from cluster.control.background_tasks import BackgroundTasks
from cluster.control.generations import Generations
from cluster.control.journal import DecisionKind, Journal
from cluster.control.model import Node
from cluster.control.observed_state import ObservedState
from cluster.control.ports import Cluster
from cluster.control.rollout import api_step


class ApiServers:
    """Reconciles the API servers, which all listen on one port.

    Args:
        port: the configured one; None: whichever the first server picks.
        drain_s: how long a server that is about to end still takes connections, for load balancers to notice.
    """

    def __init__(
        self,
        cluster: Cluster,
        generations: Generations,
        tasks: BackgroundTasks,
        journal: Journal,
        *,
        port: int | None,
        drain_s: float,
    ) -> None:
        self._cluster = cluster
        self._generations = generations
        self._tasks = tasks
        self._journal = journal
        self._drain_s = drain_s
        self.port = port
        """Where all of them listen; None before that is known."""

    def adopt_port(self, observed: ObservedState) -> None:
        """If no port is known yet, take that of a server that listens."""
        if self.port is None:
            self.port = next(iter(observed.listening().values()), None)

    def reconcile(
        self, desired: Mapping[str, Node], observed: ObservedState, draining: Mapping[str, str], *, may_replace: bool
    ) -> None:
        """Start and end servers, as far as can be done now.

        Args:
            desired: the servers that there should be, with their nodes.
            draining: reasons by the labels of the nodes that are being drained.
            may_replace: whether servers of an older generation may end now.
        """
        existing = observed.api_servers()
        ending = [name for name in existing if self._tasks.is_running(f"end {name}")]
        step = api_step(desired, existing, observed.listening(), ending, may_replace=may_replace)
        self.adopt_port(observed)
        # With the port left to the system, the others can only follow when the first has one.
        for name in step.start if self.port is not None else step.start[:1]:
            node = desired[name]
            if self._tasks.begin(f"start {name}", partial(self._start, name, node)):
                is_new = name not in observed.names
                why = f"there should be one on node {node.label}" if is_new else "it does not listen"
                self._journal.record(DecisionKind.START if is_new else DecisionKind.RESTART, name, why)
        for name in step.end:
            if self._tasks.begin(f"end {name}", partial(self._cluster.stop, name, self._drain_s)):
                self._journal.record(DecisionKind.RETIRE, name, self._generations.why_retired(name, draining))

    async def _start(self, name: str, node: Node) -> None:
        self.port = await self._cluster.start_api_server(name, node, self.port)
