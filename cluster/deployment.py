"""Seatline on a Ray cluster: section actors and API servers started, found again, stopped."""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from time import perf_counter
from typing import Any

# Before Ray is imported: it reads these once. Workers would otherwise run at nice 15 and with needless threads.
RAY_ENVIRONMENT = {
    "RAY_ENABLE_UV_RUN_RUNTIME_ENV": "0",
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_worker_niceness": "0",
    "RAY_worker_num_grpc_internal_threads": "1",
    # A call that broke waits so long for word of its actor's death, and is looked at so often. At Ray's own values of
    # a second each, the calls to a restarted actor come seconds after it is there.
    "RAY_timeout_ms_task_wait_for_death_info": "100",
    "RAY_core_worker_internal_heartbeat_ms": "100",
    # A node that died is given up after about five seconds, one that is frozen after twenty; Ray's own values make
    # that fifteen and more than sixty. These matter where the head runs.
    "RAY_health_check_period_ms": "1000",
    "RAY_health_check_timeout_ms": "3000",
    # Said aloud: a process that joins decides on this when it imports Ray, before it could find a token.
    "RAY_AUTH_MODE": "token",
    # No port: Ray's autoscaler, idle in a local Ray, would show its figures to the whole network without a token.
    "AUTOSCALER_METRIC_PORT": "-1",
}
for _name, _value in RAY_ENVIRONMENT.items():
    os.environ.setdefault(_name, _value)

import ray  # noqa: E402
import ray.exceptions  # noqa: E402

from allocator.section import SectionState  # noqa: E402
from api.server import ActorLink, ApiServer  # noqa: E402
from cluster.directory import DEDICATED_PREFIX, POOLED_PREFIX  # noqa: E402
from cluster.node import NodeConfig  # noqa: E402
from cluster.ray_actors import NAMESPACE, create_section_actor  # noqa: E402
from cluster.runfile import RunFile  # noqa: E402

log = logging.getLogger(__name__)

Progress = Callable[[str, float], None]

LOCAL_CPUS = 16
"""Logical CPUs of a local Ray. They only bound how many actors may exist; two real cores serve them all."""

API_CPUS = 0.5
START_TIMEOUT_S = 60.0
WATCH_INTERVAL_S = 1.0
PING_TIMEOUT_S = 10.0
STOP_MARGIN_S = 6.0
"""What closing takes beside finishing the requests that are under way."""


async def start_local_ray(token_path: str, progress: Progress) -> str:
    """Start a Ray of one node that ends with this process.

    Returns:
        the address to which holders of the token may connect.
    """
    os.environ["RAY_AUTH_TOKEN_PATH"] = token_path
    return await _init_ray("Ray", progress, address="local", num_cpus=LOCAL_CPUS, include_dashboard=False)


async def connect_to_ray(address: str, progress: Progress) -> str:
    """Connect to a running Ray cluster and return its address."""
    return await _init_ray(f"Ray at {address}", progress, address=address)


async def stop_ray() -> None:
    """Disconnect; a local Ray ends with all that runs on it."""
    await asyncio.to_thread(ray.shutdown)


async def _init_ray(step: str, progress: Progress, **options: Any) -> str:
    started = perf_counter()
    _quiet_ray()
    context: Any = await asyncio.to_thread(
        ray.init,
        namespace=NAMESPACE,
        log_to_driver=False,
        logging_level=logging.ERROR,
        configure_logging=False,
        **options,
    )
    progress(step, perf_counter() - started)
    address: str = context.address_info["address"]
    return address


@dataclass(frozen=True, slots=True)
class ActorConnector:
    """How an API process finds the section actors. Sent to it by value."""

    config: NodeConfig

    async def __call__(self) -> ActorLink:
        """Open a gateway in this process."""
        opened = self.config.open_gateway()
        return ActorLink(opened.gateway, opened.collect_stats, opened.ping, opened.close)


class Deployment:
    """The actors of Seatline on the Ray that this process is connected to."""

    def __init__(self, config: NodeConfig, progress: Progress) -> None:
        self._config = config
        self._progress = progress
        self._settings = config.settings
        self._api_servers: dict[str, Any] = {}

    async def start(self) -> int:
        """Start section actors and API servers.

        Returns:
            the port on which the API listens.
        """
        started = perf_counter()
        factory = self._config.host_factory()
        actors = [create_section_actor(name, factory) for name in self._config.pooled]
        pings = asyncio.create_task(self._wait([actor.ping.remote() for actor in actors]))
        for name in self._api_names():
            await self._start_api_server(name)
        await pings
        step = f"section actors ({len(actors)}) and API servers ({len(self._api_servers)})"
        self._progress(step, perf_counter() - started)
        return self._settings.port

    async def _start_api_server(self, name: str) -> None:
        config = self._config
        options: dict[str, Any] = {
            "name": name,
            "namespace": NAMESPACE,
            "num_cpus": API_CPUS,
            "max_restarts": 0,  # this process starts it anew, since it must also be told to listen
            "max_concurrency": 1000,
            "enable_task_events": False,
        }
        server_class: Any = ray.remote(ApiServer)
        server = server_class.options(**options).remote(
            self._settings, config.database_url, config.redis_url, config.jwt_secret, ActorConnector(config)
        )
        self._api_servers[name] = server
        try:
            (port,) = await self._wait([server.start.remote()])
        except BaseException:  # it may be alive, and must not pass for one that listens
            ray.kill(self._api_servers.pop(name))
            raise
        self._settings = self._settings.model_copy(update={"port": port})  # all others share it

    def _api_names(self) -> list[str]:
        return [f"api-{index}" for index in range(self._settings.api_servers_per_node)]

    async def keep_up(self) -> None:
        """Start API servers anew that died, until cancelled. Section actors come back by themselves."""
        while True:
            await asyncio.sleep(WATCH_INTERVAL_S)
            for name in self._api_names():
                if await self._is_dead(name):
                    log.warning("%s died; starting it anew", name)
                    # The name of a dead actor is free once nobody has a handle of it any more.
                    self._api_servers.pop(name, None)
                    await self._restart_api_server(name)

    async def _is_dead(self, name: str) -> bool:
        try:
            await asyncio.wait_for(_awaited(self._api_servers[name].ping.remote()), PING_TIMEOUT_S)
        except (ray.exceptions.ActorDiedError, KeyError):  # KeyError: it could not be started the last time
            return True
        except (ray.exceptions.RayError, TimeoutError) as error:
            log.warning("%s does not answer: %s", name, error)
        return False

    async def _restart_api_server(self, name: str) -> None:
        try:
            await self._start_api_server(name)
        except (ray.exceptions.RayError, TimeoutError, ValueError) as error:  # ValueError: its name is not free yet
            log.warning("%s cannot be started: %s", name, error)

    async def stop(self) -> None:
        """Stop taking requests, finish those at work, release all sections."""
        await self._stop_all(list(self._api_servers.values()))
        await self._stop_all(await asyncio.to_thread(section_actors))

    async def _wait(self, refs: list[Any]) -> list[Any]:
        return await asyncio.wait_for(asyncio.gather(*(_awaited(ref) for ref in refs)), START_TIMEOUT_S)

    async def _stop_all(self, actors: list[Any]) -> None:
        timeout_s = self._settings.request_deadline_s + STOP_MARGIN_S
        stops = [asyncio.wait_for(_awaited(actor.stop.remote()), timeout_s) for actor in actors]
        await asyncio.gather(*stops, return_exceptions=True)
        for actor in actors:
            ray.kill(actor)


async def _awaited(ref: Any) -> Any:
    return await ref


def _quiet_ray() -> None:
    """Ray tells of its threads and tokens on every start: errors are enough."""
    logging.getLogger("ray").setLevel(logging.ERROR)


def section_actors() -> list[Any]:
    """Handles of all living section actors, pooled and dedicated. Blocks: call it in a thread."""
    found = []
    for name in ray.util.list_named_actors():
        if name.startswith((POOLED_PREFIX, DEDICATED_PREFIX)):
            with suppress(ValueError):  # it ended a moment ago
                found.append(ray.get_actor(name, namespace=NAMESPACE))
    return found


async def memory_of_running(run: RunFile, timeout_s: float = 30.0) -> list[SectionState]:
    """The sections that the actors of a running Seatline hold in memory.

    Raises:
        ConnectionError: if its Ray cannot be reached.
    """

    def connect() -> list[Any]:
        if run.ray_token_path is not None:
            os.environ["RAY_AUTH_TOKEN_PATH"] = run.ray_token_path
        _quiet_ray()
        ray.init(
            address=run.ray_address,
            namespace=NAMESPACE,
            log_to_driver=False,
            logging_level=logging.ERROR,
            configure_logging=False,
            ignore_reinit_error=True,
        )
        return section_actors()

    try:
        actors = await asyncio.to_thread(connect)
        calls = [asyncio.wait_for(_awaited(actor.snapshot.remote()), timeout_s) for actor in actors]
        return [SectionState(*state) for states in await asyncio.gather(*calls) for state in states]
    except (ray.exceptions.RayError, TimeoutError, RuntimeError) as error:
        raise ConnectionError(f"the running Seatline's Ray at {run.ray_address} does not answer: {error}") from error
