"""Builds what a section actor hosts, inside its own process: service, store, lease and caches."""

from __future__ import annotations

from dataclasses import dataclass

from allocator.actor import Host
from allocator.turns.clock import SystemClock
from allocator.turns.service import Limits, SectionService
from cluster.config.logs import configure_logging
from cluster.gateway.ray_actors import actor_exists
from cluster.gateway.wire import WireCodec
from cluster.processes.memory import freeze_long_lived
from persistence.caches.announcer import RedisAnnouncer
from persistence.redis.lease import RedisLease
from persistence.store.postgres import PostgresStore


@dataclass(frozen=True, slots=True)
class HostFactory:
    """Builds the host of a section actor. It is sent to the actor's process, so it holds only plain values."""

    database_url: str
    redis_url: str
    lease_ttl_ms: int
    limits: Limits
    log_level: str

    async def __call__(self, name: str, incarnation: str) -> Host:
        """Put everything together. Postgres and Redis need not be reachable yet."""
        configure_logging(self.log_level)
        store = PostgresStore(self.database_url)
        lease = RedisLease(self.redis_url, name, incarnation, self.lease_ttl_ms, exists=actor_exists)
        announcer = RedisAnnouncer(self.redis_url)
        await lease.start()
        service = SectionService(f"{name}|{incarnation}", store, lease, announcer, SystemClock(), self.limits)

        async def close() -> None:
            await lease.close()
            await announcer.close()
            await store.close()

        freeze_long_lived()
        return Host(service, WireCodec(), close)
