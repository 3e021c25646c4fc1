"""Seatline on a Ray cluster: connects to Ray, and starts, finds and stops the controller, which runs the rest."""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Callable
from contextlib import suppress
from time import perf_counter, sleep
from typing import Any

# Before Ray is imported: it reads these once. Workers would otherwise run at nice 15 and with needless threads.
RAY_ENVIRONMENT = {
    "RAY_ENABLE_UV_RUN_RUNTIME_ENV": "0",
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_worker_niceness": "0",
    "RAY_worker_num_grpc_internal_threads": "1",
    # How long a broken call waits to hear whether its actor has died, and how often it is checked. At Ray's defaults of
    # a second each, calls to a restarted actor arrive seconds after it is there.
    "RAY_timeout_ms_task_wait_for_death_info": "100",
    "RAY_core_worker_internal_heartbeat_ms": "100",
    # A node that died is given up after about five seconds, a frozen one after twenty; with Ray's defaults it is
    # fifteen and more than sixty. Only the head reads these.
    "RAY_health_check_period_ms": "1000",
    "RAY_health_check_timeout_ms": "3000",
    # Without a GCS everything goes on serving, until Ray ends nodes and processes after this time. Its default is 60 s.
    "RAY_gcs_rpc_server_reconnect_timeout_s": "600",
    # Explicit, since a process decides on this when it imports Ray, before it could find a token.
    "RAY_AUTH_MODE": "token",
    # No port: Ray's autoscaler, idle in a local Ray, would serve its metrics to the whole network without a token.
    "AUTOSCALER_METRIC_PORT": "-1",
}
for _name, _value in RAY_ENVIRONMENT.items():
    os.environ.setdefault(_name, _value)

import ray  # noqa: E402
import ray.exceptions  # noqa: E402

from allocator.model.section import SectionState  # noqa: E402
from cluster.config.runfile import RunFile  # noqa: E402
from cluster.control.names import API_PREFIX, CONTROLLER  # noqa: E402
from cluster.gateway.directory import DEDICATED_PREFIX, POOLED_PREFIX  # noqa: E402
from cluster.gateway.ray_actors import NAMESPACE  # noqa: E402
from cluster.processes.calls import call_until_answered  # noqa: E402
from cluster.processes.controller_process import ControllerActor, ControllerSeed, give_a_head_start  # noqa: E402
from cluster.processes.generation import generation_of  # noqa: E402
from cluster.processes.node import NodeConfig  # noqa: E402
from cluster.processes.ray_cluster import STOP_MARGIN_S  # noqa: E402

RayError = ray.exceptions.RayError
log = logging.getLogger(__name__)

DeploymentProgress = Callable[[str, float], None]
"""Called with each finished step and the seconds that it took."""

LOCAL_CPUS = 16
"""Logical CPUs of a local Ray. They only limit how many actors may exist, not what they may use."""

HEAD = "node:__internal_head__"
"""Ray's own resource of the head node. The controller runs there, beside the GCS, without which it can do nothing."""
HEAD_SHARE = 0.001
SERVING_TIMEOUT_S = 120.0
NAME_PAUSE_S = 0.1
PING_TIMEOUT_S = 10.0


async def start_local_ray(token_path: str, progress: DeploymentProgress) -> str:
    """Start a Ray of one node that ends with this process.

    Returns:
        the address to which holders of the token may connect.
    """
    os.environ["RAY_AUTH_TOKEN_PATH"] = token_path
    return await _init_ray("Ray", progress, address="local", num_cpus=LOCAL_CPUS, include_dashboard=False)


async def connect_to_ray(address: str, progress: DeploymentProgress) -> str:
    """Connect to a running Ray cluster and return its address."""
    return await _init_ray(f"Ray at {address}", progress, address=address)


async def stop_ray() -> None:
    """Disconnect; a local Ray ends with all that runs on it."""
    await asyncio.to_thread(disconnect)


async def _init_ray(step: str, progress: DeploymentProgress, **options: Any) -> str:
    started = perf_counter()
    address = await asyncio.to_thread(connect, **options)
    progress(step, perf_counter() - started)
    return address


def connect(**options: Any) -> str:
    """Connect this process to Ray, or start one, and return its address. Blocks: call it in a thread."""
    _quiet_ray()
    context: Any = ray.init(
        namespace=NAMESPACE, log_to_driver=False, logging_level=logging.ERROR, configure_logging=False, **options
    )
    address: str = context.address_info["address"]
    return address


def disconnect() -> None:
    """Disconnect; a local Ray ends with all that runs on it. Blocks."""
    ray.shutdown()


class Deployment:
    """Seatline on the Ray that this process is connected to: a controller, which starts everything else.

    Args:
        config: given to every actor.
        label: the label of all nodes in names of actors; None: each has one made from its id.
    """

    def __init__(self, config: NodeConfig, progress: DeploymentProgress, *, label: str | None = None) -> None:
        self._progress = progress
        self._seed = ControllerSeed(config, generation_of(config) if label is None else "", label)
        self._deadline_s = config.settings.request_deadline_s
        self._drain_s = config.settings.drain_s if label is None else 0.0
        self._controller: Any = None
        self._is_serving = False
        self._replaces = False

    async def start(self) -> int:
        """Start a controller, or find a running one, and wait until everything runs.

        A running controller of another version of code or settings is replaced by a new one, which then replaces all
        other actors while they go on serving.

        Returns:
            the port on which the API listens.

        Raises:
            TimeoutError: if it takes too long.
        """
        started = perf_counter()
        self._controller = await self._current()
        if self._controller is None:
            self._controller = await asyncio.to_thread(self._create)
            await give_a_head_start(self._seed)
        port: int | None = await call_until_answered(
            lambda: self._controller.serving_port.remote(SERVING_TIMEOUT_S), SERVING_TIMEOUT_S + PING_TIMEOUT_S
        )
        if port is None:
            raise TimeoutError(f"not everything runs after {SERVING_TIMEOUT_S:.0f} s: see `seatline status`")
        self._is_serving = True
        self._progress("controller, section actors and API servers", perf_counter() - started)
        return port

    async def _current(self) -> Any | None:
        """The running controller, if it is of our generation; another one is ended."""
        found = await asyncio.to_thread(find_controller)
        if found is None:
            return None
        self._replaces = True
        if await self._is_ours(found):
            return found
        await asyncio.to_thread(ray.kill, found)
        return None

    async def _is_ours(self, controller: Any) -> bool:
        with suppress(ray.exceptions.RayError, TimeoutError):
            generation = await call_until_answered(controller.generation.remote, PING_TIMEOUT_S)
            return bool(generation == self._seed.generation)
        return False

    def _create(self) -> Any:
        options: dict[str, Any] = {
            "name": CONTROLLER,
            "namespace": NAMESPACE,
            "lifetime": "detached",
            "num_cpus": 0,
            "resources": {HEAD: HEAD_SHARE},
            "max_restarts": -1,
            "max_task_retries": 0,
            "max_concurrency": 1000,
            "enable_task_events": False,
        }
        deadline = perf_counter() + PING_TIMEOUT_S
        while True:
            try:
                return ray.remote(ControllerActor).options(**options).remote(self._seed)
            except ValueError:  # the one that was ended is not quite gone
                if perf_counter() > deadline:
                    raise
                sleep(NAME_PAUSE_S)

    async def stop(self) -> None:
        """Stop taking requests, finish those under way, release all sections, end the controller.

        A version that somebody else has deployed meanwhile is left alone, and so is an earlier one that could not be
        replaced.
        """
        if self._controller is None or (self._replaces and not self._is_serving):
            return
        current = await asyncio.to_thread(find_controller)
        if current is None or await self._is_ours(current):
            await stop_everything(self._controller, self._drain_s + self._deadline_s + 2 * STOP_MARGIN_S)


def this_node() -> str:
    """Ray's id of the node through which this process is connected."""
    node_id: str = ray.get_runtime_context().get_node_id()
    return node_id


def find_controller() -> Any | None:
    """The handle of the controller, if there is one. Blocks: call it in a thread."""
    try:
        return ray.get_actor(CONTROLLER, namespace=NAMESPACE)
    except ValueError:
        return None


async def stop_everything(controller: Any, timeout_s: float) -> None:
    """Have the controller end all that it started, then end it and whatever is left."""
    with suppress(ray.exceptions.RayError, TimeoutError):
        async with asyncio.timeout(timeout_s):
            await controller.stop.remote()
    await asyncio.to_thread(_kill_all, controller)


def _kill_all(controller: Any) -> None:
    ray.kill(controller)
    for name in ray.util.list_named_actors():
        if name.startswith((API_PREFIX, POOLED_PREFIX, DEDICATED_PREFIX)):
            with suppress(ValueError):  # it ended a moment ago
                ray.kill(ray.get_actor(name, namespace=NAMESPACE))


def _quiet_ray() -> None:
    """Log only errors of Ray, which otherwise logs its threads and tokens on every start."""
    logging.getLogger("ray").setLevel(logging.ERROR)


def section_actors() -> list[Any]:
    """Handles of all living section actors, pooled and dedicated. Blocks: call it in a thread."""
    found = []
    for name in ray.util.list_named_actors():
        if name.startswith((POOLED_PREFIX, DEDICATED_PREFIX)):
            with suppress(ValueError):  # it ended a moment ago
                found.append(ray.get_actor(name, namespace=NAMESPACE))
    return found


async def _snapshot(actor: Any) -> list[Any]:
    try:
        states: list[Any] = await actor.snapshot.remote()
    except ray.exceptions.ActorDiedError:  # it ended a moment ago, and holds nothing any more
        return []
    return states


async def memory_of_running(run: RunFile, timeout_s: float = 30.0) -> list[SectionState]:
    """The sections that the actors of a running Seatline hold in memory.

    Raises:
        ConnectionError: if its Ray cannot be reached.
    """

    def find_actors() -> list[Any]:
        if run.ray_token_path is not None:
            os.environ["RAY_AUTH_TOKEN_PATH"] = run.ray_token_path
        connect(address=run.ray_address, ignore_reinit_error=True)
        return section_actors()

    try:
        actors = await asyncio.to_thread(find_actors)
        calls = [asyncio.wait_for(_snapshot(actor), timeout_s) for actor in actors]
        return [SectionState(*state) for states in await asyncio.gather(*calls) for state in states]
    except (ray.exceptions.RayError, TimeoutError, RuntimeError) as error:
        raise ConnectionError(f"the running Seatline's Ray at {run.ray_address} does not answer: {error}") from error
