"""Puts the application together: its routes, its middlewares and its state, on the services that it is given."""

from __future__ import annotations

from collections.abc import AsyncIterator

import aiohttp_cors
from aiohttp import web
from aiohttp.typedefs import Middleware

from api.edge.admission import Admission
from api.edge.error_answers import ERROR_ANSWERS, ErrorAnswers
from api.edge.express_lane import ExpressLane
from api.edge.guard import with_admission
from api.edge.proxies import make_proxy_middleware
from api.edge.shedding import SHEDDING, LoadShedding, SheddingCollector
from api.http.audit import AUDIT_LINES, LINES_BURST, LINES_PER_S
from api.http.bodies import BODY_BYTES_MAX
from api.http.middleware import HSTS, make_middleware
from api.http.replies import EXPOSED_HEADERS
from api.http.routing import add_route
from api.limits import ENROLLMENT_LIMIT, FLOODERS, Flooders, LocalLimiter
from api.monitoring.answered import REQUEST_IDS, RequestIds
from api.monitoring.metrics import METRICS, Metrics
from api.monitoring.metrics_page import METRICS_PAGE, MetricsPage
from api.monitoring.readiness import READINESS, Readiness
from api.resources import docs
from api.resources.routes import API_ROUTES
from api.services import SERVICES, ApiConfig, Services
from api.signin.login_limits import LOGIN_LIMITS, LoginLimits
from api.signin.passwords import PASSWORDS, SLOWEST_BCRYPT, Passwords, SlowestBcrypt
from api.signin.tokens import ACCESS_TOKENS, AccessTokens


def build_app(services: Services, *, passwords: Passwords | None = None) -> web.Application:
    """The application on these services.

    Args:
        services: what stands behind the API. Whoever made them closes them.
        passwords: how passwords are checked; tests pass a quicker one.
    """
    config = services.config
    request_ids = RequestIds()
    app = web.Application(middlewares=_middlewares(config, request_ids), client_max_size=BODY_BYTES_MAX)
    app[SERVICES] = services
    app[REQUEST_IDS] = request_ids
    app[ACCESS_TOKENS] = AccessTokens(
        config.jwt_secret, config.access_token_ttl_s, cached_max=config.checked_tokens_max
    )
    app[PASSWORDS] = passwords or Passwords()
    app[SLOWEST_BCRYPT] = SlowestBcrypt(services.accounts.slowest_bcrypt_cost)
    app[LOGIN_LIMITS] = LoginLimits(services.rate_limiter, config.logins_per_minute / 60, config.logins_burst)
    app[METRICS] = Metrics()
    app[AUDIT_LINES] = LocalLimiter(LINES_PER_S, LINES_BURST)
    app[ENROLLMENT_LIMIT] = LocalLimiter(config.enrollments_per_s, config.enrollments_burst)
    app[FLOODERS] = Flooders()
    app[SHEDDING] = LoadShedding(
        Admission(config.in_flight_max, config.queue_target_s),
        app[FLOODERS],
        _headers_of_all(config),
        config.cors_origins,
    )
    app[ERROR_ANSWERS] = ErrorAnswers(request_ids, _headers_of_all(config))
    app[METRICS].registry.register(SheddingCollector(app[SHEDDING]))
    app[METRICS_PAGE] = MetricsPage(app[METRICS].registry, services.collect_actor_stats)
    app[READINESS] = Readiness(services.probes)
    app.cleanup_ctx.append(_close_what_is_ours)
    for route in (*API_ROUTES, *docs.ROUTES):
        add_route(app, route, with_admission)
    if config.cors_origins:
        _allow_origins(app, config.cors_origins)
    return app


def make_express_lane(app: web.Application) -> ExpressLane:
    """The express lane of an application, for its hot routes."""
    return ExpressLane(app, API_ROUTES, _headers_of_all(app[SERVICES].config))


def _headers_of_all(config: ApiConfig) -> dict[str, str]:
    return {"Strict-Transport-Security": HSTS} if config.is_production else {}


def _middlewares(config: ApiConfig, request_ids: RequestIds) -> list[Middleware]:
    outermost = make_middleware(request_ids, is_production=config.is_production, slow_request_s=config.slow_request_s)
    middlewares = [outermost]
    if config.trusted_proxies:
        middlewares.append(make_proxy_middleware(config.trusted_proxies))
    return middlewares


async def _close_what_is_ours(app: web.Application) -> AsyncIterator[None]:
    yield
    app[PASSWORDS].close()


def _allow_origins(app: web.Application, origins: tuple[str, ...]) -> None:
    """Let pages of these origins call the API. No cookies are involved, so no credentials either."""
    options = aiohttp_cors.ResourceOptions(  # type: ignore[no-untyped-call]
        allow_credentials=False,
        allow_headers=("Authorization", "Content-Type", "Idempotency-Key", "If-None-Match", "X-Request-Id"),
        expose_headers=EXPOSED_HEADERS,
        max_age=3600,
    )
    cors = aiohttp_cors.setup(app, defaults=dict.fromkeys(origins, options))
    for route in list(app.router.routes()):
        cors.add(route)
