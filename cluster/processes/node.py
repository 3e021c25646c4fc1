"""The configuration of every process of a node, as plain values that Ray can send, and the gateway made from it."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

from allocator.turns.service import Limits
from cluster.config.settings import Placement, Settings
from cluster.gateway.directory import Directory, DirectoryView
from cluster.gateway.errors import ActorLostError
from cluster.gateway.gateway import Gateway, GatewayLimits
from cluster.gateway.ray_actors import RayActors
from cluster.processes.notifications import outbox_sink
from cluster.processes.section_host import HostFactory
from cluster.processes.serving_tasks import ServingTasks
from persistence.queries.known_sections import KnownSections


@dataclass(frozen=True, slots=True)
class NodeConfig:
    """Settings and the addresses that were found for them.

    Args:
        settings: as read from the environment of ``seatline up`` or ``serve``.
        database_url: plain ``postgresql://``, as asyncpg wants it.
        pooled: names of the pooled section actors, until the first view of the controller comes.
    """

    settings: Settings
    database_url: str
    redis_url: str
    jwt_secret: str
    pooled: tuple[str, ...] = ()

    def host_factory(self) -> HostFactory:
        """The builder of the hosts of section actors."""
        settings = self.settings
        return HostFactory(
            self.database_url,
            self.redis_url,
            settings.lease_ttl_ms,
            Limits(batch_max=settings.batch_max, inbox_max=settings.inbox_max, section_idle_s=settings.section_idle_s),
            settings.log_level,
        )

    def directory(self) -> Directory:
        """The directory that a process starts with."""
        return Directory(DirectoryView(0, self.settings.placement, self.pooled))

    def connect(self, directory: Directory) -> tuple[Gateway, RayActors]:
        """A gateway to the section actors, and their handles. Call it inside the event loop that will use it."""
        settings = self.settings
        actors = RayActors(self.host_factory(), KnownSections(self.database_url), idle_exit_s=settings.dedicated_idle_s)
        limits = GatewayLimits(
            settings.request_deadline_s,
            settings.gateway_pending_max,
            settings.gateway_batch_max or settings.batch_max,
            settings.gateway_calls_max,
        )
        return Gateway(directory, actors.call, limits), actors

    def open_gateway(self) -> OpenGateway:
        """The gateway of an API process, with the tasks that run beside it."""
        directory = self.directory()
        gateway, actors = self.connect(directory)
        closing = ExitStack()
        sink = outbox_sink(self.settings, self.database_url, closing)
        return OpenGateway(directory, gateway, actors, ServingTasks(self.database_url, gateway, sink, closing))


@dataclass(frozen=True, slots=True)
class OpenGateway:
    """An open gateway with its directory, the handles of section actors that it calls, and the tasks beside it."""

    directory: Directory
    gateway: Gateway
    actors: RayActors
    tasks: ServingTasks

    def update_directory(self, view: DirectoryView) -> None:
        """Use a newer view from now on; an older one changes nothing."""
        if self.directory.update(view):
            self.gateway.directory_changed()
            self.actors.keep(self.directory.includes)

    async def collect_stats(self) -> list[dict[str, Any]]:
        """Counters of the section actors that answer in time."""
        return await self.actors.stats(self.directory.view.pooled)

    async def ping(self) -> None:
        """Raise if no pooled actor answers. Dedicated ones are started when they are needed."""
        view = self.directory.view
        if not view.pooled and view.placement is not Placement.DEDICATED:
            raise ActorLostError("there are no section actors at the moment")
        await self.actors.ping(view.pooled)

    async def close(self) -> None:
        """Answer what waits, and close everything."""
        await self.tasks.close()
        await self.gateway.close()
        self.actors.close()
