"""The Ray shell around an API server. The API itself is imported only in the actor's process: that takes seconds."""

from __future__ import annotations

import asyncio
import os
from typing import TYPE_CHECKING, Any

import ray

from cluster.aws.spot import SpotWatch, is_ec2
from cluster.config.settings import SpotWatching
from cluster.processes import sigterm
from cluster.processes.follower import DirectoryFollower
from cluster.processes.node import NodeConfig

if TYPE_CHECKING:
    from cluster.processes.api_server import ActorLink

sigterm.prepare()


class ApiServerActor:
    """An API server as a Ray actor. Many may share a port."""

    def __init__(self, config: NodeConfig) -> None:
        """Put the API together; nothing is opened yet."""
        from cluster.processes.api_server import ApiServer  # noqa: PLC0415

        self._config = config
        self._server = ApiServer(
            config.settings, config.database_url, config.redis_url, config.jwt_secret, self._connect_actors
        )
        self._ending: asyncio.Task[None] | None = None

    async def start(self, port: int | None = None) -> int:
        """Connect, listen and return the port. A second call changes nothing.

        Args:
            port: None: the configured one.
        """
        sigterm.on_sigterm(self._end)
        return await self._server.start(port)

    async def stop(self, drain_s: float = 0.0) -> None:
        """Report ``draining`` on `/ready` for ``drain_s`` seconds, finish the requests under way, close."""
        await self._server.stop(drain_s)

    def _end(self) -> None:
        """Handle SIGTERM: do as ``stop``, then exit. The controller starts another."""

        async def stop_and_exit() -> None:
            try:
                await self.stop(self._config.settings.drain_s)
            finally:
                os._exit(0)

        if self._ending is None:
            self._ending = asyncio.create_task(stop_and_exit(), name="SIGTERM")

    async def pulse(self) -> dict[str, object]:
        """The report of this process, as fields of ``cluster.control.model.Pulse``."""
        return await self._server.pulse()

    async def _connect_actors(self) -> ActorLink:
        """Open a gateway in this process, and wait for the first directory view."""
        from cluster.processes.api_server import ActorLink  # noqa: PLC0415

        opened = self._config.open_gateway()
        follower = DirectoryFollower(opened)

        async def collect() -> list[dict[str, Any]]:
            actors, controller = await asyncio.gather(opened.collect_stats(), follower.stats())
            return [*actors, *controller]

        watching = self._watch_spot(follower)

        async def close() -> None:
            if watching is not None:
                watching.cancel()
                await asyncio.gather(watching, return_exceptions=True)
            await follower.close()
            await opened.close()

        try:
            await follower.first_view()
        except BaseException:
            await close()
            raise
        return ActorLink(opened.gateway, collect, opened.ping, lambda: opened.directory.view.version, close)

    def _watch_spot(self, follower: DirectoryFollower) -> asyncio.Task[None] | None:
        """Every API process of a node watches, since draining it twice changes nothing."""
        settings = self._config.settings
        is_wanted = settings.spot_watch is SpotWatching.ON or (settings.spot_watch is SpotWatching.AUTO and is_ec2())
        if not is_wanted:
            return None
        watch = SpotWatch(settings.metadata_url, follower.drain_this_node)
        return asyncio.create_task(watch.run(), name="spot-watch")


def create_api_server(config: NodeConfig, options: dict[str, Any]) -> Any:
    """Create an API server with these options of a Ray actor, and return its handle."""
    server_class: Any = ray.remote(ApiServerActor)
    return server_class.options(**options).remote(config)
