"""The Ray cluster as the controller observes and changes it. All blocking calls of Ray are made in threads.

Actors are called with keyword arguments only: if the class of an actor of another version cannot be imported here, its
handle accepts no others.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from typing import Any, TypeVar

import ray
import ray._private.state
import ray.exceptions
from ray.autoscaler.sdk import request_resources
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from cluster.control.desired_state import DesiredState
from cluster.control.model import LABEL_CHARACTERS, SEATLINE_NODE, Node, Pulse
from cluster.control.names import own_section, placed
from cluster.control.ports import ClusterAwayError
from cluster.gateway.errors import ActorLostError
from cluster.gateway.ray_actors import NAMESPACE, OWN_CPUS, create_section_actor
from cluster.processes.api_process import create_api_server
from cluster.processes.calls import call_until_answered
from cluster.processes.node import NodeConfig

T = TypeVar("T")

OBSERVE_TIMEOUT_S = 3.0
"""For calls to the GCS. While the GCS is away such a call blocks its thread for up to a minute."""
PULSE_TIMEOUT_S = 0.8
CALL_TIMEOUT_S = 5.0
START_TIMEOUT_S = 60.0
STOP_MARGIN_S = 6.0
"""How long an actor may take to close, beyond finishing the requests under way."""
HOTTEST = 5
API_CPUS = 0.5
NODE_ID_LABEL = "ray.io/node-id"
"""The label that Ray gives to every node. A node that is yet to be started has none, so it matches ``!in(...)``."""


class RayCluster:
    """Implements ``cluster.control.ports.Cluster``.

    Args:
        config: given to every actor.
        label: the label of all nodes; None: each has one made from its id.
    """

    def __init__(self, config: NodeConfig, label: str | None = None) -> None:
        self._config = config
        self._factory = config.host_factory()
        self._label = label
        self._handles: dict[str, Any] = {}
        # Observing must not wait for changes: starts may hang while the GCS is away.
        self._observing = ThreadPoolExecutor(max_workers=3, thread_name_prefix="ray-observe")
        self._changing = ThreadPoolExecutor(max_workers=4, thread_name_prefix="ray-change")

    # Observing

    async def nodes(self) -> list[Node]:
        """See ``Cluster``."""
        return await self._in_thread(self._observing, self._read_nodes, OBSERVE_TIMEOUT_S)

    def _read_nodes(self) -> list[Node]:
        leaving = ray._private.state.state.get_draining_nodes()
        every = ray._private.state.state.node_table()  # type: ignore[no-untyped-call]
        return [_node(one, one["NodeID"] in leaving, self._label) for one in every]

    async def actor_names(self) -> set[str]:
        """See ``Cluster``."""
        names = await self._in_thread(self._observing, ray.util.list_named_actors, OBSERVE_TIMEOUT_S)
        for gone in self._handles.keys() - set(names):
            del self._handles[gone]
        return set(names)

    async def pulse(self, name: str) -> Pulse:
        """See ``Cluster``."""
        found = placed(name)
        if found is not None and found.is_api:
            report: Mapping[str, Any] = await self._call(name, lambda actor: actor.pulse.remote(), PULSE_TIMEOUT_S)
            return Pulse(**report)
        return Pulse.of_section_actor(
            await self._call(name, lambda actor: actor.heat.remote(top=HOTTEST), PULSE_TIMEOUT_S)
        )

    async def active_sections(self, name: str) -> list[int]:
        """See ``Cluster``."""
        active: list[int] = await self._call(name, lambda actor: actor.active_sections.remote(), CALL_TIMEOUT_S)
        return active

    # Changing

    def launch(self, desired: DesiredState) -> None:
        """Create actors without waiting until they can work."""
        for name, node in desired.section_actors.items():
            self._create_section_actor(name, node)
        for name, node in desired.api_servers.items():
            self._create_api_server(name, node)

    async def start_section_actor(self, name: str, node: Node | None) -> None:
        """See ``Cluster``."""
        create = partial(self._create_section_actor, name, node)
        handle = await self._in_thread(self._changing, create, START_TIMEOUT_S)
        await self._started(name, handle, handle.ping.remote)

    async def start_api_server(self, name: str, node: Node, port: int | None) -> int:
        """See ``Cluster``."""
        create = partial(self._create_api_server, name, node)
        handle = await self._in_thread(self._changing, create, START_TIMEOUT_S)
        listening: int = await self._started(name, handle, lambda: handle.start.remote(port=port))
        return listening

    def _create_section_actor(self, name: str, node: Node | None) -> Any:
        cpus = {} if own_section(name) is None else {"num_cpus": OWN_CPUS}
        return create_section_actor(name, self._factory, scheduling=_on(node), **cpus)

    def _create_api_server(self, name: str, node: Node) -> Any:
        options = {
            "name": name,
            "namespace": NAMESPACE,
            "lifetime": "detached",
            "get_if_exists": True,
            "num_cpus": API_CPUS,
            "max_restarts": 0,  # a restarted one must also be told to listen: the controller does both
            "max_task_retries": 0,
            "max_concurrency": 1000,
            "enable_task_events": False,
            "scheduling_strategy": _on(node),
        }
        return create_api_server(self._config, options)

    async def hand_over(self, name: str, moves: Mapping[int, str]) -> int:
        """See ``Cluster``."""
        handed: int = await self._call(name, lambda actor: actor.hand_over.remote(moves=dict(moves)), CALL_TIMEOUT_S)
        return handed

    async def take(self, name: str, section_ids: Sequence[int]) -> int:
        """See ``Cluster``."""
        taken: int = await self._call(
            name, lambda actor: actor.take.remote(section_ids=list(section_ids)), CALL_TIMEOUT_S
        )
        return taken

    async def stop(self, name: str, drain_s: float = 0.0) -> None:
        """See ``Cluster``."""
        found = placed(name)
        arguments = {"drain_s": drain_s} if found is not None and found.is_api else {}
        timeout_s = drain_s + self._config.settings.request_deadline_s + STOP_MARGIN_S
        with suppress(ActorLostError):
            await self._call(name, lambda actor: actor.stop.remote(**arguments), timeout_s)
        await self._kill(name)

    async def request_nodes(self, count: int, leaving: Collection[str]) -> None:
        """See ``Cluster``."""

        def request() -> None:
            request_resources(
                bundles=[{SEATLINE_NODE: 1}] * count,
                bundle_label_selectors=[staying(leaving)] * count,
            )

        await self._in_thread(self._changing, request, START_TIMEOUT_S)

    def close(self) -> None:
        """End the threads."""
        for threads in (self._observing, self._changing):
            threads.shutdown(wait=False, cancel_futures=True)

    # Calls

    async def _started(self, name: str, handle: Any, ask: Callable[[], Any]) -> Any:
        """Wait until a new actor says that it can work, and end it if it does not."""
        try:
            # The call may be repeated, and must be: else a lost answer would be the end of an actor that works.
            answer = await call_until_answered(ask, START_TIMEOUT_S)
        except ray.exceptions.ActorDiedError as error:
            raise ActorLostError(_in_short(error)) from error
        except (ray.exceptions.RayError, TimeoutError, OSError) as error:
            await self._kill(name)
            raise ActorLostError(_in_short(error)) from error
        self._handles[name] = handle
        return answer

    async def _call(self, name: str, ask: Callable[[Any], Any], timeout_s: float) -> Any:
        try:
            async with asyncio.timeout(timeout_s):
                return await ask(await self._find(name))
        except ray.exceptions.ActorDiedError as error:
            self._handles.pop(name, None)
            raise ActorLostError(_in_short(error)) from error
        except (ray.exceptions.RayError, TimeoutError, ValueError, OSError) as error:
            raise ActorLostError(_in_short(error)) from error

    async def _find(self, name: str) -> Any:
        handle = self._handles.get(name)
        if handle is None:
            handle = await self._in_thread(
                self._changing, lambda: ray.get_actor(name, namespace=NAMESPACE), CALL_TIMEOUT_S
            )
            self._handles[name] = handle
        return handle

    async def _kill(self, name: str) -> None:
        with suppress(ValueError, ClusterAwayError):
            handle = await self._find(name)
            await self._in_thread(self._changing, lambda: ray.kill(handle, no_restart=True), CALL_TIMEOUT_S)
        self._handles.pop(name, None)

    async def _in_thread(self, threads: ThreadPoolExecutor, work: Callable[[], T], timeout_s: float) -> T:
        try:
            async with asyncio.timeout(timeout_s):
                return await asyncio.get_running_loop().run_in_executor(threads, work)
        except (ray.exceptions.RayError, TimeoutError, RuntimeError) as error:
            raise ClusterAwayError(_in_short(error)) from error


def _node(entry: Mapping[str, Any], is_leaving: bool, label: str | None) -> Node:
    resources = entry.get("Resources") or {}
    node_id = entry["NodeID"]
    return Node(
        node_id=node_id,
        label=label or node_id[-LABEL_CHARACTERS:],
        address=entry["NodeManagerAddress"],
        cpus=resources.get("CPU", 0.0),
        is_alive=entry["Alive"],
        is_leaving=is_leaving,
        is_declared=SEATLINE_NODE in resources,
    )


def staying(leaving: Collection[str]) -> dict[str, str]:
    """A label selector for all nodes but these.

    Without it, Ray's autoscaler places the requested bundles on nodes of its own choosing, and ends no node that has
    one: it could keep a drained node and end one that serves.
    """
    return {NODE_ID_LABEL: f"!in({','.join(sorted(leaving))})"} if leaving else {}


def _on(node: Node | None) -> Any:
    """The scheduling strategy for an actor on this node alone; without a node, wherever there is room."""
    return "SPREAD" if node is None else NodeAffinitySchedulingStrategy(node.node_id, soft=False)


def _in_short(error: BaseException) -> str:
    first_line = str(error).partition("\n")[0]
    return f"{type(error).__name__}: {first_line}" if first_line else type(error).__name__
