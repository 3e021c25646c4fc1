"""Seatline on a Ray cluster: section actors and API servers started, found again, stopped."""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from time import perf_counter
from typing import Any

# Before Ray is imported: it reads these once. Workers would otherwise run at nice 15 and with needless threads.
RAY_ENVIRONMENT = {
    "RAY_ENABLE_UV_RUN_RUNTIME_ENV": "0",
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_worker_niceness": "0",
    "RAY_worker_num_grpc_internal_threads": "1",
    # Said aloud: a process that joins decides on this when it imports Ray, before it could find a token.
    "RAY_AUTH_MODE": "token",
}
for _name, _value in RAY_ENVIRONMENT.items():
    os.environ.setdefault(_name, _value)

import ray  # noqa: E402
import ray.exceptions  # noqa: E402

from allocator.section import SectionState  # noqa: E402
from api.server import ActorLink, ApiServer  # noqa: E402
from cluster.node import NodeConfig  # noqa: E402
from cluster.ray_actors import NAMESPACE, create_section_actor  # noqa: E402
from cluster.runfile import RunFile  # noqa: E402

Progress = Callable[[str, float], None]

LOCAL_CPUS = 16
"""Logical CPUs of a local Ray. They only bound how many actors may exist; two real cores serve them all."""

API_CPUS = 0.5
START_TIMEOUT_S = 60.0
STOP_TIMEOUT_S = 10.0


@asynccontextmanager
async def local_ray(token_path: str, progress: Progress) -> AsyncIterator[str]:
    """A Ray of one node, while the context lasts. Gives the address to which holders of the token may connect."""
    started = perf_counter()
    os.environ["RAY_AUTH_TOKEN_PATH"] = token_path
    _quiet_ray()
    context: Any = await asyncio.to_thread(
        ray.init,
        namespace=NAMESPACE,
        num_cpus=LOCAL_CPUS,
        include_dashboard=False,
        log_to_driver=False,
        logging_level=logging.ERROR,
        configure_logging=False,
    )
    progress("Ray", perf_counter() - started)
    try:
        yield context.address_info["address"]
    finally:
        await asyncio.to_thread(ray.shutdown)


@asynccontextmanager
async def connected_ray(address: str, progress: Progress) -> AsyncIterator[str]:
    """A connection to a running Ray cluster, for as long as the context lasts."""
    started = perf_counter()
    context: Any = await asyncio.to_thread(ray.init, address=address, namespace=NAMESPACE, log_to_driver=False)
    progress(f"Ray at {address}", perf_counter() - started)
    try:
        yield context.address_info["address"]
    finally:
        await asyncio.to_thread(ray.shutdown)


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
        self._section_actors: list[Any] = []
        self._api_servers: list[Any] = []

    async def start(self) -> int:
        """Start section actors, then API servers.

        Returns:
            the port on which the API listens.
        """
        settings = self._config.settings
        started = perf_counter()
        factory = self._config.host_factory()
        self._section_actors = [create_section_actor(name, factory) for name in self._config.pooled]
        await self._wait([actor.ping.remote() for actor in self._section_actors])
        self._progress(f"{len(self._section_actors)} section actors", perf_counter() - started)

        started = perf_counter()
        server_class: Any = ray.remote(ApiServer)
        config = self._config
        for index in range(settings.api_servers_per_node):
            options: dict[str, Any] = {
                "name": f"api-{index}",
                "namespace": NAMESPACE,
                "num_cpus": API_CPUS,
                "max_restarts": 0,
                "max_concurrency": 1000,
                "enable_task_events": False,
            }
            server: Any = server_class.options(**options).remote(
                settings, config.database_url, config.redis_url, config.jwt_secret, ActorConnector(config)
            )
            self._api_servers.append(server)
            port: int = (await self._wait([server.start.remote()]))[0]
            settings = settings.model_copy(update={"port": port})  # the next one shares it
        self._progress(f"{settings.api_servers_per_node} API servers", perf_counter() - started)
        return port

    async def stop(self) -> None:
        """Stop taking requests, finish those at work, release all sections."""
        await self._stop_all(self._api_servers)
        await self._stop_all(self._section_actors)

    async def wait_for_failure(self) -> str:
        """Return when an API server is gone: its name. Section actors come back by themselves."""
        while True:
            for index, server in enumerate(self._api_servers):
                try:
                    await asyncio.wait_for(_awaited(server.ping.remote()), STOP_TIMEOUT_S)
                except (ray.exceptions.RayActorError, TimeoutError):
                    return f"api-{index}"
            await asyncio.sleep(2.0)

    async def _wait(self, refs: list[Any]) -> list[Any]:
        return await asyncio.wait_for(asyncio.gather(*(_awaited(ref) for ref in refs)), START_TIMEOUT_S)

    async def _stop_all(self, actors: list[Any]) -> None:
        stops = [asyncio.wait_for(_awaited(actor.stop.remote()), STOP_TIMEOUT_S) for actor in actors]
        await asyncio.gather(*stops, return_exceptions=True)
        for actor in actors:
            ray.kill(actor)


async def _awaited(ref: Any) -> Any:
    return await ref


def _quiet_ray() -> None:
    """Ray tells of its threads and tokens on every start: errors are enough."""
    logging.getLogger("ray").setLevel(logging.ERROR)


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
        names = ray.util.list_named_actors()
        return [ray.get_actor(name, namespace=NAMESPACE) for name in names if name.startswith("section")]

    try:
        actors = await asyncio.to_thread(connect)
        calls = [asyncio.wait_for(_awaited(actor.snapshot.remote()), timeout_s) for actor in actors]
        return [SectionState(*state) for states in await asyncio.gather(*calls) for state in states]
    except (ray.exceptions.RayError, TimeoutError, RuntimeError) as error:
        raise ConnectionError(f"the running Seatline's Ray at {run.ray_address} does not answer: {error}") from error
