"""``seatline up``, ``serve``, ``config``, ``openapi``, ``version``, ``bench``.

Ray, SQLAlchemy and Alembic take seconds to import: the commands that need them do so when they run.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import Coroutine
from contextlib import AsyncExitStack
from importlib.metadata import version as installed_version
from time import perf_counter
from typing import Annotated, Any, TypeVar

import typer

from cluster.cli.common import (
    CommandError,
    Exit,
    Urls,
    err,
    open_services,
    out,
    print_json,
    read_settings_or_exit,
    report_step,
    run_async,
)
from cluster.cli.databases import upgrade_schema
from cluster.cli.schema import db
from cluster.config.runfile import RunFile, read_run_file, remove_run_file, write_run_file
from cluster.config.secrets import jwt_secret, ray_token_path
from cluster.config.settings import (
    Settings,
    forget_owner_in_environment,
    plain_postgres_url,
    without_owner,
)
from cluster.embedded import EmbeddedServices

T = TypeVar("T")

config = typer.Typer(help="The settings in force.", no_args_is_help=True)

DEMO_SECTIONS = 600
DEMO_STUDENTS = 5_000
DEMO_SEED = 1


def register(app: typer.Typer) -> None:
    """Add these commands."""
    app.command()(up)
    app.command()(serve)
    app.command()(openapi)
    app.command()(version)
    app.command(context_settings={"allow_extra_args": True, "ignore_unknown_options": True}, add_help_option=False)(
        bench
    )
    app.add_typer(db, name="db")
    app.add_typer(config, name="config")


def up(
    port: Annotated[int | None, typer.Option(help="Port of the API; 0 picks a free one.")] = None,
    seed: Annotated[bool, typer.Option(help="Seed a demo campus into an empty database.")] = True,
) -> None:
    """Start everything on this machine: Postgres, Valkey, Ray, section actors, API. Ctrl-C stops it all.

    Examples:

        seatline up

        SEATLINE_PLACEMENT=dedicated seatline up --port 9000
    """
    settings = read_settings_or_exit(**({} if port is None else {"port": port}))
    run_async(_run(settings, local=True, seed=seed))


def serve(
    detach: Annotated[
        bool, typer.Option("--detach", help="Return once everything serves; `seatline down` stops it.")
    ] = False,
) -> None:
    """Deploy on the Ray cluster at RAY_ADDRESS and stay until stopped. DATABASE_URL and REDIS_URL must be set.

    If another version of code or settings is running, its actors are replaced without refusing a request.

    Example:

        RAY_ADDRESS=auto DATABASE_URL=postgresql://... REDIS_URL=redis://... seatline serve --detach
    """
    settings = read_settings_or_exit()
    # Without a head this process gives up after a minute, as Ray would have it; the nodes serve on for longer.
    os.environ.setdefault("RAY_gcs_rpc_server_reconnect_timeout_s", "60")
    if settings.ray_address is None:
        raise typer.BadParameter("set RAY_ADDRESS to the cluster's address, or to `auto` on one of its nodes")
    if settings.database_url is None or settings.redis_url is None:
        raise typer.BadParameter("set DATABASE_URL and REDIS_URL: the nodes of a cluster share them")
    run_async(_run(settings, local=False, seed=False, detach=detach))


async def _run(settings: Settings, *, local: bool, seed: bool, detach: bool = False) -> None:
    """Run until a signal arrives. If it arrives during the start, what was started so far is stopped."""
    stopping = _stop_on_signals()
    try:
        async with AsyncExitStack() as stack:
            await _until(stopping, _start(settings, stack, local=local, seed=seed, detach=detach))
            if detach:
                stack.pop_all()  # it runs on without this process
            else:
                await stopping.wait()
                err.print("\nstopping ...")
    except _StoppedError:
        err.print("stopped")


async def _start(settings: Settings, stack: AsyncExitStack, *, local: bool, seed: bool, detach: bool) -> None:
    """Start everything, and put what stops it onto ``stack``.

    Ray takes longest and depends on nothing else, so it starts concurrently with the services.
    """
    from cluster.processes import deployment as ray_side  # noqa: PLC0415
    from cluster.processes.node import NodeConfig  # noqa: PLC0415

    _refuse_a_second(settings, local=local)
    forget_owner_in_environment()  # Ray's processes inherit ours
    started = perf_counter()
    token_path = str(ray_token_path(settings)) if local else None
    if token_path is not None:
        starting_ray = asyncio.create_task(ray_side.start_local_ray(token_path, report_step))
    else:
        starting_ray = asyncio.create_task(ray_side.connect_to_ray(settings.ray_address or "auto", report_step))

    async def stop_ray() -> None:
        await asyncio.wait({starting_ray})
        await ray_side.stop_ray()

    try:
        urls = await stack.enter_async_context(open_services(settings))
    finally:  # Ray ends before the services that its actors use
        stack.push_async_callback(stop_ray)
    await _prepare_database(settings, urls, seed=seed)
    ray_address = await asyncio.shield(starting_ray)
    database_url = plain_postgres_url(urls.database_url)
    node = NodeConfig(without_owner(settings), database_url, urls.redis_url, jwt_secret(settings))
    deployment = ray_side.Deployment(node, report_step, label="local" if local else None)
    stack.push_async_callback(deployment.stop)
    url = f"http://{settings.host}:{await deployment.start()}"
    stack.callback(remove_run_file, settings.home)
    write_run_file(settings.home, RunFile(None if detach else os.getpid(), url, ray_address, token_path))
    _greet(settings, url, perf_counter() - started, how_to_stop="`seatline down`" if detach else "Ctrl-C")


def _refuse_a_second(settings: Settings, *, local: bool) -> None:
    """Refuse a second Seatline on one home, and embedded services that another command has started and will stop.

    Raises:
        CommandError: naming what runs there.
    """
    run = read_run_file(settings.home)
    if run is not None and (local or run.pid is not None):  # `serve` replaces a detached one
        who = "`seatline serve --detach`" if run.pid is None else f"process {run.pid}"
        raise CommandError(
            f"Seatline runs on {settings.home} already: {who}, {run.url}. "
            "Stop it first, or set SEATLINE_HOME to another directory.",
            Exit.UNAVAILABLE,
        )
    embedded = settings.database_url is None or settings.redis_url is None
    if embedded and EmbeddedServices.attach(settings.home) is not None:
        raise CommandError(
            f"another command uses the embedded services of {settings.home}. "
            "Wait for it to end, or set SEATLINE_HOME to another directory.",
            Exit.UNAVAILABLE,
        )


class _StoppedError(Exception):
    """A signal arrived."""


def _stop_on_signals() -> asyncio.Event:
    stopping = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stopping.set)
    return stopping


async def _until(stopping: asyncio.Event, work: Coroutine[Any, Any, T]) -> T:
    """Await ``work``, or cancel it when a signal arrives.

    Raises:
        _StoppedError: if a signal arrived first.
    """
    working = asyncio.create_task(work)
    waiting = asyncio.create_task(stopping.wait())
    await asyncio.wait({working, waiting}, return_when=asyncio.FIRST_COMPLETED)
    waiting.cancel()
    if working.done():
        return working.result()
    err.print("\nstopping ...")
    working.cancel()
    await asyncio.wait({working})
    raise _StoppedError


async def _prepare_database(settings: Settings, urls: Urls, *, seed: bool) -> None:
    started = perf_counter()
    await upgrade_schema(urls)
    report_step("database schema", perf_counter() - started)
    if seed:
        from cluster.cli.data import seed_if_empty  # noqa: PLC0415

        await seed_if_empty(settings, urls, DEMO_SECTIONS, DEMO_STUDENTS, DEMO_SEED)


def _greet(settings: Settings, url: str, seconds: float, *, how_to_stop: str) -> None:
    out.print(
        f"\n[bold green]Seatline is up[/] in {seconds:.1f} s: [bold]{url}[/]  (docs: {url}/api/docs)", soft_wrap=True
    )
    credentials = settings.home / "secrets" / "demo-logins.txt"
    if credentials.exists():
        out.print("\nDemo logins:\n" + credentials.read_text(encoding="utf-8").rstrip(), highlight=False)
    out.print(f"\n{how_to_stop} stops it.", highlight=False)


@config.command("show")
def config_show(as_json: Annotated[bool, typer.Option("--json")] = False) -> None:
    """Print every setting; secrets are masked."""
    values = read_settings_or_exit().model_dump(mode="json")
    if as_json:
        print_json(values)
        return
    for name, value in values.items():
        out.print(f"{name} = {value}", highlight=False)


def bench(context: typer.Context) -> None:
    """Benchmark Seatline against alternatives. `seatline bench --help` lists the benchmarks."""
    # A process of its own: the product may not import the benchmarks, which import all of it.
    os.execv(sys.executable, [sys.executable, "-m", "bench", *context.args])  # noqa: S606


def openapi() -> None:
    """Print the OpenAPI 3.1 document of the HTTP API."""
    from api.http.openapi import openapi_document  # noqa: PLC0415
    from api.resources.routes import API_ROUTES  # noqa: PLC0415

    print_json(openapi_document(API_ROUTES))


def version(as_json: Annotated[bool, typer.Option("--json")] = False) -> None:
    """Print the installed version."""
    number = installed_version("seatline")
    if as_json:
        print_json({"version": number})
    else:
        out.print(number, highlight=False)
