"""Whether Postgres, Redis, Ray and the API can be reached, and are set up as they must be."""

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
from cluster.doctor.report import Kind, Row, State, judge
from cluster.embedded import EmbeddedServices

TIMEOUT_S = 3.0
POSTGRES_MIN = 14
CONNECTIONS_PER_API = 4  # the engine's pool
CONNECTIONS_SPARE = 10

NOT_RUNNING = "embedded, not running"


async def look_at_services(settings: Settings) -> list[Row]:
    """Everything that answers, or should."""
    embedded = EmbeddedServices.attach(settings.home)
    database_url = settings.database_url.get_secret_value() if settings.database_url else None
    redis_url = settings.redis_url.get_secret_value() if settings.redis_url else None
    if embedded is not None:
        database_url, redis_url = database_url or embedded.app_database_url, redis_url or embedded.redis_url
    looks: list[Callable[[], Awaitable[list[Row]]]] = [
        lambda: look_at_postgres(settings, database_url),
        lambda: look_at_redis(redis_url),
        lambda: look_at_ray(settings),
        lambda: look_at_api(settings),
        lambda: look_at_controller(settings),
    ]
    return [row for rows in await asyncio.gather(*(look() for look in looks)) for row in rows]


async def look_at_postgres(settings: Settings, url: str | None) -> list[Row]:
    """Reachability, version, schema and the settings that durability and throughput hang on."""
    name = "Postgres"
    if url is None:
        return [Row(Kind.SERVICE, name, State.OK, f"{NOT_RUNNING}; `seatline up` starts it")]
    try:
        plain = plain_postgres_url(url)
    except ConfigurationError as error:
        return [Row(Kind.CONFIGURATION, name, State.BAD, "no Postgres address", str(error))]
    started = time.monotonic()
    try:
        connection = await asyncpg.connect(plain, timeout=TIMEOUT_S, command_timeout=TIMEOUT_S)
    except (OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError, ValueError) as error:
        mend = "start it, or correct DATABASE_URL (host, port, database, user, password, sslmode)"
        return [Row(Kind.SERVICE, name, State.BAD, f"{_place(url)} does not let us in: {_text(error)}", mend)]
    try:
        rows = await _postgres_rows(settings, connection, f"{(time.monotonic() - started) * 1000:.0f} ms", url)
        return [*rows, await _migration_row(plain), *await _role_rows(connection)]
    finally:
        connection.terminate()


async def _postgres_rows(settings: Settings, connection: asyncpg.Connection, took: str, url: str) -> list[Row]:
    version = connection.get_server_version()
    shown = {
        name: await connection.fetchval("SELECT current_setting($1)", name)
        for name in ("synchronous_commit", "fsync", "full_page_writes", "max_connections")
    }
    read_only = await connection.fetchval("SELECT pg_is_in_recovery()")
    kind = Kind.SERVICE
    rows = [
        judge(
            kind,
            "Postgres",
            f"{version.major}.{version.minor} at {_place(url)}, connected in {took}",
            ok=version.major >= POSTGRES_MIN,
            mend=f"Seatline needs Postgres {POSTGRES_MIN} or newer",
            otherwise=State.BAD,
        ),
        judge(
            kind,
            "durable commits",
            ", ".join(f"{name} {shown[name]}" for name in ("synchronous_commit", "fsync", "full_page_writes")),
            ok=shown["synchronous_commit"] in {"on", "remote_apply"}
            and shown["fsync"] == shown["full_page_writes"] == "on",
            mend="an acknowledged enrolment could be lost: ALTER SYSTEM SET ... = on, then SELECT pg_reload_conf()",
            otherwise=State.BAD,
        ),
        _connections_row(settings, int(shown["max_connections"])),
    ]
    if read_only:
        mend = "DATABASE_URL points at a standby: use the primary's address"
        rows.append(Row(kind, "primary", State.BAD, "this server is read-only", mend))
    return rows


def _connections_row(settings: Settings, max_connections: int) -> Row:
    needed = settings.actors_per_node + settings.api_servers_per_node * CONNECTIONS_PER_API + CONNECTIONS_SPARE
    return judge(
        Kind.SERVICE,
        "max_connections",
        f"{max_connections}; a node takes up to {needed}",
        ok=max_connections >= needed,
        mend=f"raise max_connections to at least {needed} for each node, or run fewer actors",
    )


async def _role_rows(connection: asyncpg.Connection) -> list[Row]:
    from persistence.schema.roles import KEEPS_HISTORY  # noqa: PLC0415  (SQLAlchemy is slow to import)

    keeps_history = await connection.fetchval(KEEPS_HISTORY)
    if keeps_history is None:  # no tables yet
        return []
    role = await connection.fetchval("SELECT current_user")
    return [
        judge(
            Kind.SERVICE,
            "database role",
            f"{role} may {'only add to' if keeps_history else 'rewrite'} the history",
            ok=keeps_history,
            mend="let DATABASE_URL name a role of its own, SEATLINE_OWNER_DATABASE_URL the owner of the tables, and run"
            " `seatline db upgrade`",
        )
    ]


async def _migration_row(plain_url: str) -> Row:
    from persistence.schema.migrate import current, head  # noqa: PLC0415  (Alembic is slow to import)

    try:
        revision = await current(sqlalchemy_url(plain_url))
    except (SQLAlchemyError, OSError) as error:
        return Row(Kind.SERVICE, "schema", State.BAD, _text(error), "may this user read the database?")
    return judge(
        Kind.SERVICE,
        "schema",
        f"revision {revision or 'none'}, newest {head()}",
        ok=revision == head(),
        mend="run `seatline db upgrade`",
        otherwise=State.BAD,
    )


async def look_at_redis(url: str | None) -> list[Row]:
    """Reachability and version. Enrolment goes on without it, more slowly to read."""
    if url is None:
        return [Row(Kind.SERVICE, "Redis", State.OK, f"{NOT_RUNNING}; `seatline up` starts it")]
    started = time.monotonic()
    try:
        client = Redis.from_url(url, socket_timeout=TIMEOUT_S, socket_connect_timeout=TIMEOUT_S)
    except ValueError as error:
        return [Row(Kind.CONFIGURATION, "Redis", State.BAD, "no Redis address", f"REDIS_URL: {error}")]
    try:
        async with asyncio.timeout(TIMEOUT_S):
            info = await client.info("server")
    except (RedisError, OSError, TimeoutError) as error:
        mend = "start it, or correct REDIS_URL; until then enrolment goes on without caches and shared rate limits"
        return [Row(Kind.SERVICE, "Redis", State.BAD, f"{_place(url)} does not answer: {_text(error)}", mend)]
    finally:
        await client.aclose()
    milliseconds = (time.monotonic() - started) * 1000
    product, version = _product(info)
    value = f"{product} {version} at {_place(url)}, answered in {milliseconds:.0f} ms"
    return [
        judge(Kind.SERVICE, "Redis", value, ok=milliseconds < 100, mend="slower than 100 ms it is treated as away"),
        *_cluster_mode(info),
    ]


def _product(info: dict[str, object]) -> tuple[str, object]:
    if "valkey_version" in info:
        return "Valkey", info["valkey_version"]
    return "Redis", info.get("redis_version", "of unknown version")


def _cluster_mode(info: dict[str, object]) -> list[Row]:
    if info.get("redis_mode") != "cluster":
        return []
    mend = "the lease scripts touch keys of several slots: use one Redis with replicas (cluster mode disabled)"
    return [Row(Kind.CONFIGURATION, "Redis mode", State.BAD, "cluster", mend)]


async def look_at_ray(settings: Settings) -> list[Row]:
    """Whether the Ray that would be used takes connections. Asking Ray itself would take seconds."""
    run = read_run_file(settings.home)
    address = settings.ray_address or (run.ray_address if run else None)
    if address is None:
        return [Row(Kind.SERVICE, "Ray", State.OK, "not running; `seatline up` starts one of its own")]
    if address == "auto":
        return [Row(Kind.SERVICE, "Ray", State.OK, "RAY_ADDRESS=auto: found when Seatline starts")]
    host, _, port = address.removeprefix("ray://").rpartition(":")
    try:
        async with asyncio.timeout(TIMEOUT_S):
            _, writer = await asyncio.open_connection(host.strip("[]"), int(port))
        writer.close()
    except ValueError:
        return [Row(Kind.CONFIGURATION, "Ray", State.BAD, address, "RAY_ADDRESS must be HOST:PORT or auto")]
    except (OSError, TimeoutError) as error:
        mend = "start the cluster (`ray start --head`), or correct RAY_ADDRESS"
        return [Row(Kind.SERVICE, "Ray", State.BAD, f"{address} does not answer: {_text(error)}", mend)]
    return [Row(Kind.SERVICE, "Ray", State.OK, f"takes connections at {address}")]


async def look_at_api(settings: Settings) -> list[Row]:
    """Whether the Seatline that runs here is ready."""
    run = read_run_file(settings.home)
    if run is None:
        return [Row(Kind.SERVICE, "API", State.OK, "not running here; `seatline up` starts it")]
    connection = AsyncConnection(Target.of(run.url))
    try:
        reply = await connection.exchange(get(Target.of(run.url), "/ready"), TIMEOUT_S)
    except (OSError, TimeoutError) as error:
        mend = f"{_runner(run)} runs but does not serve: see its output, and Ray's logs"
        return [Row(Kind.SERVICE, "API", State.BAD, f"{run.url} does not answer: {_text(error)}", mend)]
    finally:
        connection.close()
    state = reply.body.decode("utf-8", "replace")[:200]
    mend = "the answer says which dependency is away"
    value = f"{run.url} ({_runner(run)}): {reply.status} {state}"
    return [judge(Kind.SERVICE, "API", value, ok=reply.status == 200, mend=mend, otherwise=State.BAD)]


def _runner(run: RunFile) -> str:
    return f"process {run.pid}" if run.pid is not None else "detached"


CONTROLLER_FIGURE = re.compile(rb'^seatline_actor_view_version\{actor="controller"\} (\S+)$', re.MULTILINE)


async def look_at_controller(settings: Settings) -> list[Row]:
    """Whether the API hears from the controller. Serving goes on without one, but nothing is started or moved."""
    run = read_run_file(settings.home)
    if run is None:
        return []
    connection = AsyncConnection(Target.of(run.url))
    try:
        reply = await connection.exchange(get(Target.of(run.url), "/metrics"), TIMEOUT_S)
    except (OSError, TimeoutError) as error:
        return [Row(Kind.SERVICE, "controller", State.WARN, f"not known: {_text(error)}", "see the API")]
    finally:
        connection.close()
    found = CONTROLLER_FIGURE.search(reply.body)
    value = f"has published view {float(found[1]):.0f}" if found else "does not answer the API"
    mend = "serving goes on, nothing is moved: see Ray's logs, and `seatline status`; `seatline serve` starts another"
    return [judge(Kind.SERVICE, "controller", value, ok=found is not None, mend=mend)]


def _place(url: str) -> str:
    """Where a URL points, without user and password."""
    parts = urlsplit(url)
    host = parts.netloc.rpartition("@")[2]
    return f"{host or 'socket'}{parts.path}"


def _text(error: BaseException) -> str:
    return str(error) or type(error).__name__
