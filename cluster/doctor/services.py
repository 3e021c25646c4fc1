"""Checks whether Postgres, Redis, Ray and the API can be reached, and are set up as they must be."""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Awaitable, Callable
from urllib.parse import urlsplit

import asyncpg
from redis.asyncio import Redis
from redis.exceptions import RedisError
from sqlalchemy.exc import SQLAlchemyError

from cluster.clients.http import AsyncConnection, Target, get
from cluster.config.runfile import RunFile, read_run_file
from cluster.config.settings import ConfigurationError, Settings, plain_postgres_url, sqlalchemy_url
from cluster.doctor.report import CheckKind, CheckResult, CheckState, judge
from cluster.embedded import EmbeddedServices

TIMEOUT_S = 3.0
POSTGRES_MIN = 14
CONNECTIONS_PER_API = 4  # the engine's pool
CONNECTIONS_SPARE = 10

NOT_RUNNING = "embedded, not running"


async def check_services(settings: Settings) -> list[CheckResult]:
    """Checks of all services."""
    embedded = EmbeddedServices.attach(settings.home)
    database_url = settings.database_url.get_secret_value() if settings.database_url else None
    redis_url = settings.redis_url.get_secret_value() if settings.redis_url else None
    if embedded is not None:
        database_url, redis_url = database_url or embedded.app_database_url, redis_url or embedded.redis_url
    checks: list[Callable[[], Awaitable[list[CheckResult]]]] = [
        lambda: check_postgres(settings, database_url),
        lambda: check_redis(redis_url),
        lambda: check_ray(settings),
        lambda: check_api(settings),
        lambda: check_controller(settings),
    ]
    return [row for rows in await asyncio.gather(*(check() for check in checks)) for row in rows]


async def check_postgres(settings: Settings, url: str | None) -> list[CheckResult]:
    """Reachability, version, schema, and the settings that durability and throughput depend on."""
    name = "Postgres"
    if url is None:
        return [CheckResult(CheckKind.SERVICE, name, CheckState.OK, f"{NOT_RUNNING}; `seatline up` starts it")]
    try:
        plain = plain_postgres_url(url)
    except ConfigurationError as error:
        return [CheckResult(CheckKind.CONFIGURATION, name, CheckState.BAD, "no Postgres address", str(error))]
    started = time.monotonic()
    try:
        connection = await asyncpg.connect(plain, timeout=TIMEOUT_S, command_timeout=TIMEOUT_S)
    except (OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError, ValueError) as error:
        mend = "start it, or correct DATABASE_URL (host, port, database, user, password, sslmode)"
        return [
            CheckResult(
                CheckKind.SERVICE, name, CheckState.BAD, f"{_place(url)} does not let us in: {_text(error)}", mend
            )
        ]
    try:
        rows = await _postgres_rows(settings, connection, f"{(time.monotonic() - started) * 1000:.0f} ms", url)
        return [*rows, await _migration_row(plain), *await _role_rows(connection)]
    finally:
        connection.terminate()


async def _postgres_rows(settings: Settings, connection: asyncpg.Connection, took: str, url: str) -> list[CheckResult]:
    version = connection.get_server_version()
    shown = {
        name: await connection.fetchval("SELECT current_setting($1)", name)
        for name in ("synchronous_commit", "fsync", "full_page_writes", "max_connections")
    }
    read_only = await connection.fetchval("SELECT pg_is_in_recovery()")
    kind = CheckKind.SERVICE
    rows = [
        judge(
            kind,
            "Postgres",
            f"{version.major}.{version.minor} at {_place(url)}, connected in {took}",
            ok=version.major >= POSTGRES_MIN,
            mend=f"Seatline needs Postgres {POSTGRES_MIN} or newer",
            otherwise=CheckState.BAD,
        ),
        judge(
            kind,
            "durable commits",
            ", ".join(f"{name} {shown[name]}" for name in ("synchronous_commit", "fsync", "full_page_writes")),
            ok=shown["synchronous_commit"] in {"on", "remote_apply"}
            and shown["fsync"] == shown["full_page_writes"] == "on",
            mend="an acknowledged enrolment could be lost: ALTER SYSTEM SET ... = on, then SELECT pg_reload_conf()",
            otherwise=CheckState.BAD,
        ),
        _connections_row(settings, int(shown["max_connections"])),
    ]
    if read_only:
        mend = "DATABASE_URL points at a standby: use the primary's address"
        rows.append(CheckResult(kind, "primary", CheckState.BAD, "this server is read-only", mend))
    return rows


def _connections_row(settings: Settings, max_connections: int) -> CheckResult:
    needed = settings.actors_per_node + settings.api_servers_per_node * CONNECTIONS_PER_API + CONNECTIONS_SPARE
    return judge(
        CheckKind.SERVICE,
        "max_connections",
        f"{max_connections}; a node takes up to {needed}",
        ok=max_connections >= needed,
        mend=f"raise max_connections to at least {needed} for each node, or run fewer actors",
    )


async def _role_rows(connection: asyncpg.Connection) -> list[CheckResult]:
    from persistence.schema.roles import KEEPS_HISTORY  # noqa: PLC0415  (SQLAlchemy is slow to import)

    keeps_history = await connection.fetchval(KEEPS_HISTORY)
    if keeps_history is None:  # no tables yet
        return []
    role = await connection.fetchval("SELECT current_user")
    return [
        judge(
            CheckKind.SERVICE,
            "database role",
            f"{role} may {'only add to' if keeps_history else 'rewrite'} the history",
            ok=keeps_history,
            mend="let DATABASE_URL name a role of its own, SEATLINE_OWNER_DATABASE_URL the owner of the tables, and run"
            " `seatline db upgrade`",
        )
    ]


async def _migration_row(plain_url: str) -> CheckResult:
    from persistence.schema.migrate import current, head  # noqa: PLC0415  (Alembic is slow to import)

    try:
        revision = await current(sqlalchemy_url(plain_url))
    except (SQLAlchemyError, OSError) as error:
        return CheckResult(
            CheckKind.SERVICE, "schema", CheckState.BAD, _text(error), "may this user read the database?"
        )
    return judge(
        CheckKind.SERVICE,
        "schema",
        f"revision {revision or 'none'}, newest {head()}",
        ok=revision == head(),
        mend="run `seatline db upgrade`",
        otherwise=CheckState.BAD,
    )


async def check_redis(url: str | None) -> list[CheckResult]:
    """Reachability and version. Without Redis enrolment goes on, and reads are slower."""
    if url is None:
        return [CheckResult(CheckKind.SERVICE, "Redis", CheckState.OK, f"{NOT_RUNNING}; `seatline up` starts it")]
    started = time.monotonic()
    try:
        client = Redis.from_url(url, socket_timeout=TIMEOUT_S, socket_connect_timeout=TIMEOUT_S)
    except ValueError as error:
        return [
            CheckResult(CheckKind.CONFIGURATION, "Redis", CheckState.BAD, "no Redis address", f"REDIS_URL: {error}")
        ]
    try:
        async with asyncio.timeout(TIMEOUT_S):
            info = await client.info("server")
    except (RedisError, OSError, TimeoutError) as error:
        mend = "start it, or correct REDIS_URL; until then enrolment goes on without caches and shared rate limits"
        return [
            CheckResult(
                CheckKind.SERVICE, "Redis", CheckState.BAD, f"{_place(url)} does not answer: {_text(error)}", mend
            )
        ]
    finally:
        await client.aclose()
    milliseconds = (time.monotonic() - started) * 1000
    product, version = _product(info)
    value = f"{product} {version} at {_place(url)}, answered in {milliseconds:.0f} ms"
    return [
        judge(
            CheckKind.SERVICE, "Redis", value, ok=milliseconds < 100, mend="slower than 100 ms it is treated as away"
        ),
        *_cluster_mode(info),
    ]


def _product(info: dict[str, object]) -> tuple[str, object]:
    if "valkey_version" in info:
        return "Valkey", info["valkey_version"]
    return "Redis", info.get("redis_version", "of unknown version")


def _cluster_mode(info: dict[str, object]) -> list[CheckResult]:
    if info.get("redis_mode") != "cluster":
        return []
    mend = "the lease scripts touch keys of several slots: use one Redis with replicas (cluster mode disabled)"
    return [CheckResult(CheckKind.CONFIGURATION, "Redis mode", CheckState.BAD, "cluster", mend)]


async def check_ray(settings: Settings) -> list[CheckResult]:
    """Whether the configured Ray takes connections. Connecting to Ray itself would take seconds."""
    run = read_run_file(settings.home)
    address = settings.ray_address or (run.ray_address if run else None)
    if address is None:
        return [
            CheckResult(CheckKind.SERVICE, "Ray", CheckState.OK, "not running; `seatline up` starts one of its own")
        ]
    if address == "auto":
        return [CheckResult(CheckKind.SERVICE, "Ray", CheckState.OK, "RAY_ADDRESS=auto: found when Seatline starts")]
    host, _, port = address.removeprefix("ray://").rpartition(":")
    try:
        async with asyncio.timeout(TIMEOUT_S):
            _, writer = await asyncio.open_connection(host.strip("[]"), int(port))
        writer.close()
    except ValueError:
        return [
            CheckResult(
                CheckKind.CONFIGURATION, "Ray", CheckState.BAD, address, "RAY_ADDRESS must be HOST:PORT or auto"
            )
        ]
    except (OSError, TimeoutError) as error:
        mend = "start the cluster (`ray start --head`), or correct RAY_ADDRESS"
        return [
            CheckResult(CheckKind.SERVICE, "Ray", CheckState.BAD, f"{address} does not answer: {_text(error)}", mend)
        ]
    return [CheckResult(CheckKind.SERVICE, "Ray", CheckState.OK, f"takes connections at {address}")]


async def check_api(settings: Settings) -> list[CheckResult]:
    """Whether the Seatline that runs here is ready."""
    run = read_run_file(settings.home)
    if run is None:
        return [CheckResult(CheckKind.SERVICE, "API", CheckState.OK, "not running here; `seatline up` starts it")]
    connection = AsyncConnection(Target.of(run.url))
    try:
        reply = await connection.exchange(get(Target.of(run.url), "/ready", _metrics_token(settings)), TIMEOUT_S)
    except (OSError, TimeoutError) as error:
        mend = f"{_runner(run)} runs but does not serve: see its output, and Ray's logs"
        return [
            CheckResult(CheckKind.SERVICE, "API", CheckState.BAD, f"{run.url} does not answer: {_text(error)}", mend)
        ]
    finally:
        connection.close()
    state = reply.body.decode("utf-8", "replace")[:200]
    mend = "the answer says which dependency is away"
    value = f"{run.url} ({_runner(run)}): {reply.status} {state}"
    return [judge(CheckKind.SERVICE, "API", value, ok=reply.status == 200, mend=mend, otherwise=CheckState.BAD)]


def _metrics_token(settings: Settings) -> str | None:
    return settings.metrics_token.get_secret_value() if settings.metrics_token else None


def _runner(run: RunFile) -> str:
    return f"process {run.pid}" if run.pid is not None else "detached"


CONTROLLER_FIGURE = re.compile(rb'^seatline_actor_view_version\{actor="controller"\} (\S+)$', re.MULTILINE)


async def check_controller(settings: Settings) -> list[CheckResult]:
    """Whether the controller answers the API. Without it serving goes on, but nothing is started or moved."""
    run = read_run_file(settings.home)
    if run is None:
        return []
    connection = AsyncConnection(Target.of(run.url))
    try:
        reply = await connection.exchange(get(Target.of(run.url), "/metrics", _metrics_token(settings)), TIMEOUT_S)
    except (OSError, TimeoutError) as error:
        return [
            CheckResult(CheckKind.SERVICE, "controller", CheckState.WARN, f"not known: {_text(error)}", "see the API")
        ]
    finally:
        connection.close()
    found = CONTROLLER_FIGURE.search(reply.body)
    value = f"has published view {float(found[1]):.0f}" if found else "does not answer the API"
    mend = "serving goes on, nothing is moved: see Ray's logs, and `seatline status`; `seatline serve` starts another"
    return [judge(CheckKind.SERVICE, "controller", value, ok=found is not None, mend=mend)]


def _place(url: str) -> str:
    """Where a URL points, without user and password."""
    parts = urlsplit(url)
    host = parts.netloc.rpartition("@")[2]
    return f"{host or 'socket'}{parts.path}"


def _text(error: BaseException) -> str:
    return str(error) or type(error).__name__
