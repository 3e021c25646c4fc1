"""What the commands share: exit codes, options, the two consoles, and the addresses of the services."""

from __future__ import annotations

import asyncio
import contextlib
import enum
import sys
from collections.abc import AsyncIterator, Coroutine
from dataclasses import dataclass
from typing import Annotated, Any, NoReturn, TypeVar

import orjson
import typer
import uvloop
from rich.console import Console
from rich.markup import escape

from cluster.config.settings import ConfigurationError, Settings, read_settings, role_of
from cluster.embedded import EmbeddedServices, EmbeddedUrls, ServicesAlreadyRunning, ServiceStartError

T = TypeVar("T")

out = Console()
"""For results only, so that they can be piped."""

err = Console(stderr=True)
"""Progress, notes and errors."""

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON on standard output.")]


class Exit(enum.IntEnum):
    """Exit codes. Scripts rely on them."""

    OK = 0
    FAILURE = 1
    USAGE = 2
    CONFIGURATION = 3
    UNAVAILABLE = 4
    BROKEN_INVARIANT = 5


class CommandError(Exception):
    """Ends the command with ``code``. The message says what is wrong and what to do about it."""

    def __init__(self, message: str, code: Exit = Exit.FAILURE) -> None:
        super().__init__(message)
        self.code = code


@dataclass(frozen=True, slots=True)
class Urls:
    """The addresses of Postgres and Redis.

    Args:
        database_url: for the role that serves requests.
        owner_url: for the owner of the tables; the same address if there is only one role.
    """

    database_url: str
    redis_url: str
    owner_url: str

    @property
    def app_role(self) -> str | None:
        """The role that serves requests; None if it is the owner.

        Raises:
            ConfigurationError: if there are two addresses and the one for serving names no role.
        """
        if self.database_url == self.owner_url:
            return None
        role = role_of(self.database_url)
        if role is None:
            raise ConfigurationError("DATABASE_URL must name its role: postgresql://ROLE@...")
        return None if role == role_of(self.owner_url) else role


@contextlib.asynccontextmanager
async def open_services(settings: Settings) -> AsyncIterator[Urls]:
    """The configured Postgres and Redis; else the embedded ones, which are started unless they run already."""
    database_url = settings.database_url.get_secret_value() if settings.database_url else None
    owner_url = settings.owner_database_url.get_secret_value() if settings.owner_database_url else database_url
    redis_url = settings.redis_url.get_secret_value() if settings.redis_url else None

    def urls(embedded: EmbeddedUrls | EmbeddedServices) -> Urls:
        return Urls(
            database_url or embedded.app_database_url,
            redis_url or embedded.redis_url,
            owner_url or embedded.database_url,
        )

    if database_url and redis_url:
        yield Urls(database_url, redis_url, owner_url or database_url)
        return
    running = EmbeddedServices.attach(settings.home)
    if running is not None:
        yield urls(running)
        return
    async with EmbeddedServices(settings.home, report_step) as started:
        yield urls(started)


def report_step(step: str, seconds: float) -> None:
    """Print a finished step of a start and its time."""
    err.print(f"  [green]✓[/] {step} [dim]{seconds:.1f} s[/]")


def print_json(value: object) -> None:
    """``value`` as indented JSON on standard output."""
    sys.stdout.write(orjson.dumps(value, option=orjson.OPT_INDENT_2).decode() + "\n")
    sys.stdout.flush()


def run_async(work: Coroutine[Any, Any, T]) -> T:
    """Run ``work`` on uvloop, and turn errors into messages and exit codes."""
    try:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            return runner.run(work)
    except CommandError as error:
        fail(str(error), error.code)
    except ConfigurationError as error:
        fail(str(error), Exit.CONFIGURATION)
    except (ServicesAlreadyRunning, ServiceStartError) as error:
        fail(str(error), Exit.UNAVAILABLE)
    except (OSError, TimeoutError) as error:
        if isinstance(error, FileNotFoundError | IsADirectoryError | PermissionError):
            fail(str(error), Exit.USAGE)
        fail(f"a service does not answer: {error}. Try `seatline doctor`.", Exit.UNAVAILABLE)


def read_settings_or_exit(**overrides: object) -> Settings:
    """The settings. If they are wrong, print what is wrong and exit with code 3."""

    async def read() -> Settings:
        return read_settings(**overrides)

    return run_async(read())


def fail(message: str, code: Exit) -> NoReturn:
    """Print ``message`` as an error and exit with ``code``."""
    err.print(f"[bold red]error:[/] {escape(message)}", highlight=False)
    raise typer.Exit(int(code))
