"""What the application is built from: its settings and its ports. `cluster/processes/api_server.py` passes the real
services, tests pass fakes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from aiohttp import web

from allocator.ports import CommandGateway
from api.ports import (
    Accounts,
    AuditLog,
    Cache,
    CatalogueReader,
    CollectActorStats,
    EnrollmentReader,
    LiveSections,
    Probe,
    RateLimiter,
    RosterExports,
    RosterReader,
    TokenStore,
)


@dataclass(frozen=True, slots=True)
class ApiConfig:
    """The settings of the API.

    Args:
        jwt_secret: signs access tokens; at least 32 bytes.
        logins_per_minute, logins_burst: per address and email together.
        enrollments_per_s, enrollments_burst: writes of one student, in this process.
        in_flight_max, queue_target_s: enrolments that may be under way in this process, and how long the quickest of
            them may take before they must become fewer.
        cors_origins: origins whose pages may call the API; none by default.
        trusted_proxies: addresses or networks whose X-Forwarded-For is believed; none by default.
        metrics_token: without it nobody is shown metrics, nor which dependency is away; None shows them to everybody.
        is_production: promise HTTPS for ever (HSTS).
        slow_request_s: requests that take longer are logged as warnings.
        request_deadline_s: how long a request may take that waits for several things one after the other.
    """

    jwt_secret: str = field(repr=False)
    access_token_ttl_s: int = 900
    checked_tokens_max: int = 65_536
    refresh_token_ttl_s: int = 14 * 86_400
    logins_per_minute: float = 10.0
    logins_burst: int = 10
    enrollments_per_s: float = 20.0
    enrollments_burst: int = 40
    in_flight_max: int = 1024
    queue_target_s: float = 0.25
    cors_origins: tuple[str, ...] = ()
    trusted_proxies: tuple[str, ...] = ()
    metrics_token: str | None = field(default=None, repr=False)
    is_production: bool = False
    slow_request_s: float = 1.0
    request_deadline_s: float = 5.0


@dataclass(frozen=True, slots=True)
class Services:
    """An implementation of every port.

    ``exports`` is None where rosters cannot be exported. ``probes`` are what ``/ready`` asks, by name: ``postgres`` and
    ``actors`` are vital, all others are not.
    """

    config: ApiConfig
    gateway: CommandGateway
    catalogue: CatalogueReader
    seats: LiveSections
    enrollments: EnrollmentReader
    rosters: RosterReader
    accounts: Accounts
    refresh_tokens: TokenStore
    audit: AuditLog
    cache: Cache
    rate_limiter: RateLimiter
    collect_actor_stats: CollectActorStats
    probes: Mapping[str, Probe]
    exports: RosterExports | None = None


SERVICES = web.AppKey("SERVICES", Services)
