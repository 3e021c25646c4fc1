"""What the commands share: exit codes, the two consoles, and where the services are."""

from __future__ import annotations

import asyncio
import contextlib
import enum
import sys
from collections.abc import AsyncIterator, Coroutine
from dataclasses import dataclass
from typing import Any, NoReturn, TypeVar

import orjson
import typer
import uvloop
from rich.console import Console

from cluster.embedded import EmbeddedServices, ServicesAlreadyRunning, ServiceStartError
from cluster.settings import ConfigurationError, Settings

T = TypeVar("T")

out = Console()
"""Results. Nothing but results goes here, so that it can be piped."""

err = Console(stderr=True)
"""Progress, notes and errors."""


class Exit(enum.IntEnum):
    """Exit codes, part of the contract."""

    OK = 0
    FAILURE = 1
    USAGE = 2
    CONFIGURATION = 3
    UNAVAILABLE = 4
    BROKEN_INVARIANT = 5


class CommandError(Exception):
    """Ends the command with ``code``; the message says what is wrong and how to mend it."""

    def __init__(self, message: str, code: Exit = Exit.FAILURE) -> None:
        super().__init__(message)
        self.code = code


@dataclass(frozen=True, slots=True)
class Urls:
    """Where Postgres and Redis are, for this command."""

    database_url: str
    redis_url: str


@contextlib.asynccontextmanager
async def open_services(settings: Settings) -> AsyncIterator[Urls]:
    """The configured Postgres and Redis; else the embedded ones that run already; else some started for now."""
    database_url = settings.database_url.get_secret_value() if settings.database_url else None
    redis_url = settings.redis_url.get_secret_value() if settings.redis_url else None
    if database_url and redis_url:
        yield Urls(database_url, redis_url)
        return
    running = EmbeddedServices.attach(settings.home)
    if running is not None:
        yield Urls(database_url or running.database_url, redis_url or running.redis_url)
        return
    async with EmbeddedServices(settings.home, report_step) as started:
        yield Urls(database_url or started.database_url, redis_url or started.redis_url)


def report_step(step: str, seconds: float) -> None:
    """One line for a finished start-up step and its time."""
    err.print(f"  [green]✓[/] {step} [dim]{seconds:.1f} s[/]")


def print_json(value: object) -> None:
    """``value`` as indented JSON on standard output."""
    sys.stdout.write(orjson.dumps(value, option=orjson.OPT_INDENT_2).decode() + "\n")
    sys.stdout.flush()


def run_async(work: Coroutine[Any, Any, T]) -> T:
    """Run ``work`` to its end on uvloop, with errors turned into messages and exit codes."""
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


def fail(message: str, code: Exit) -> NoReturn:
    """Print ``message`` as an error and exit with ``code``."""
    err.print(f"[bold red]error:[/] {message}", highlight=False)
    raise typer.Exit(int(code))
