"""The composition root of an API server: puts it together from settings to socket. Runs in api_process.py."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass

import sqlalchemy as sa
from aiohttp import web
from redis.asyncio import Redis
from sqlalchemy.ext.asyncio import AsyncEngine

from allocator.ports import CommandGateway
from api.app import build_app, make_express_lane
from api.edge.server import EdgeRunner
from api.edge.shedding import SHEDDING
from api.http.audit import keep_audit_lines
from api.monitoring.metrics import METRICS
from api.monitoring.quiet_logs import quiet_bad_requests
from api.monitoring.readiness import READINESS
from api.monitoring.usage import Usage
from api.resources.enrollments import ENROLL_ROUTE
from api.services import ApiConfig, Services
from cluster.config.logs import configure_logging, configure_structlog
from cluster.config.settings import Environment, Settings, sqlalchemy_url
from cluster.processes.cloud import Cloud
from cluster.processes.memory import freeze_long_lived
from persistence.caches.cached_reads import CachedReads
from persistence.caches.seat_board import SeatBoard
from persistence.queries.accounts import AccountQueries
from persistence.queries.audit import PostgresAuditLog
from persistence.queries.catalogue import CatalogueQueries
from persistence.queries.connection import reading
from persistence.queries.engine import make_engine
from persistence.queries.enrollments import EnrollmentQueries
from persistence.queries.refresh_tokens import RefreshTokens
from persistence.queries.rosters import RosterQueries
from persistence.redis.rate_limit import RedisRateLimiter

KEEP_ALIVE_S = 75.0
"""Longer than the 60 s of an ALB, which must be the one to close idle connections."""

BACKLOG = 2048
"""Connections waiting to be accepted: the first second of registration day."""

POOL_SIZE = 4


@dataclass(frozen=True, slots=True)
class ActorLink:
    """The connection of an API server to the section actors.

    Args:
        gateway: takes commands to them.
        collect: returns their figures, a mapping for each actor.
        ping: raises if no section actor can be reached.
        view_version: returns the version of the directory view in use.
        close: closes all that was opened for it.
    """

    gateway: CommandGateway
    collect: Callable[[], Awaitable[Sequence[Mapping[str, object]]]]
    ping: Callable[[], Awaitable[object]]
    view_version: Callable[[], int]
    close: Callable[[], Awaitable[None]]


ConnectActors = Callable[[], Awaitable[ActorLink]]


class ApiServer:
    """An HTTP server. Several processes may share a port."""

    def __init__(
        self, settings: Settings, database_url: str, redis_url: str, jwt_secret: str, connect_actors: ConnectActors
    ) -> None:
        """Remember how to start; the event loop does not run yet.

        Args:
            settings: the configuration.
            database_url, redis_url: the services in use, configured or embedded.
            jwt_secret: what signs access tokens, the same in every process.
            connect_actors: called once, in this process.
        """
        self._settings = settings
        self._database_url = database_url
        self._redis_url = redis_url
        self._jwt_secret = jwt_secret
        self._connect_actors = connect_actors
        self._open = AsyncExitStack()
        self._app: web.Application | None = None
        self._link: ActorLink | None = None
        self._port: int | None = None
        self._starting = asyncio.Lock()
        self._usage = Usage(ENROLL_ROUTE.key)

    async def start(self, port: int | None = None) -> int:
        """Connect, listen and return the port. If that fails, everything is closed. A second call changes nothing.

        Args:
            port: instead of the configured one.
        """
        async with self._starting:
            if self._port is None:
                self._port = await self._start(self._settings.port if port is None else port)
        return self._port

    async def _start(self, wanted_port: int) -> int:
        configure_logging(self._settings.log_level)
        configure_structlog()
        quiet_bad_requests()
        keep_audit_lines()
        async with AsyncExitStack() as opening:
            cloud = Cloud(self._settings, opening)
            services = await self._make_services(opening, cloud)
            self._app = build_app(services)
            cloud.publish_metrics(self._app, services.collect_actor_stats)
            port = await self._listen(self._app, wanted_port, opening)
            self._open = opening.pop_all()
        freeze_long_lived()
        return port

    async def stop(self, drain_s: float = 0.0) -> None:
        """Report ``draining`` on `/ready`, then take no more connections, finish the requests under way, close.

        Args:
            drain_s: seconds between the first and the second, for load balancers to notice.
        """
        if self._app is not None:
            self._app[READINESS].is_draining = True
            await asyncio.sleep(drain_s)
        await self._open.aclose()

    async def pulse(self) -> dict[str, object]:
        """The report of this process, as fields of ``cluster.control.model.Pulse``."""
        busy, requests_per_s, p99_ms = self._usage.read(None if self._app is None else self._app[METRICS].traffic)
        return {
            "busy": busy,
            "waiting": 0 if self._app is None else self._app[SHEDDING].admission.in_flight,
            "commands_per_s": requests_per_s,
            "p99_ms": p99_ms,
            "view_version": 0 if self._link is None else self._link.view_version(),
            "port": self._port if self._app is not None and not self._app[READINESS].is_draining else None,
        }

    async def _make_services(self, opening: AsyncExitStack, cloud: Cloud) -> Services:
        engine = make_engine(sqlalchemy_url(self._database_url), pool_size=POOL_SIZE)
        opening.push_async_callback(engine.dispose)
        cached_reads = CachedReads(self._redis_url)
        opening.push_async_callback(cached_reads.close)
        limiter = RedisRateLimiter(self._redis_url)
        opening.push_async_callback(limiter.close)
        redis = Redis.from_url(self._redis_url, socket_timeout=1.0, socket_connect_timeout=1.0)
        opening.push_async_callback(redis.aclose)
        catalogue = CatalogueQueries(engine)
        seats = SeatBoard(self._redis_url, catalogue.sections)
        opening.push_async_callback(seats.close)
        link = self._link = await self._connect_actors()
        opening.push_async_callback(link.close)
        return Services(
            config=api_config(self._settings, self._jwt_secret),
            gateway=link.gateway,
            catalogue=catalogue,
            seats=seats,
            enrollments=EnrollmentQueries(engine),
            rosters=RosterQueries(engine),
            accounts=AccountQueries(engine),
            refresh_tokens=RefreshTokens(engine),
            audit=PostgresAuditLog(engine),
            cache=cached_reads,
            rate_limiter=limiter,
            collect_actor_stats=link.collect,
            probes={"postgres": lambda: _ask(engine), "redis": lambda: _ping(redis), "actors": link.ping},
            exports=cloud.exports(),
        )

    async def _listen(self, app: web.Application, port: int, opening: AsyncExitStack) -> int:
        runner = EdgeRunner(
            app,
            app[SHEDDING],
            make_express_lane(app),
            self._settings.connections_max,
            access_log=None,
            keepalive_timeout=KEEP_ALIVE_S,
            shutdown_timeout=self._settings.request_deadline_s + 1.0,
            lingering_time=2.0,  # for a client that goes on sending what was refused
            auto_decompress=False,  # a compressed body is refused, so it must not be unpacked first
        )
        await runner.setup()
        opening.push_async_callback(runner.cleanup)
        site = web.TCPSite(runner, self._settings.host, port, backlog=BACKLOG, reuse_port=True)
        await site.start()
        listening: int = runner.addresses[0][1]
        return listening


def api_config(settings: Settings, jwt_secret: str) -> ApiConfig:
    """The part of the settings that the API needs."""
    return ApiConfig(
        jwt_secret=jwt_secret,
        access_token_ttl_s=settings.access_token_ttl_s,
        checked_tokens_max=settings.checked_tokens_max,
        refresh_token_ttl_s=settings.refresh_token_ttl_s,
        logins_per_minute=settings.logins_per_minute,
        logins_burst=settings.logins_burst,
        enrollments_per_s=settings.enrollments_per_s,
        enrollments_burst=settings.enrollments_burst,
        in_flight_max=settings.in_flight_max,
        queue_target_s=settings.queue_target_ms / 1000,
        cors_origins=settings.cors_origins,
        trusted_proxies=settings.trusted_proxies,
        metrics_token=settings.metrics_token.get_secret_value() if settings.metrics_token else None,
        is_production=settings.env is Environment.PRODUCTION,
        request_deadline_s=settings.request_deadline_s,
    )


async def _ask(engine: AsyncEngine) -> None:
    async with reading(engine) as connection:
        await connection.execute(sa.select(1))


async def _ping(redis: Redis) -> None:
    await redis.ping()
