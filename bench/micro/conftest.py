"""Fixtures: an event loop for benchmarks of coroutines, and services for those of the store."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest
import uvloop

from bench.contestants.sandbox import Sandbox, open_sandbox


@pytest.fixture(scope="session")
def runner() -> Iterator[asyncio.Runner]:
    """The event loop of production."""
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as running:
        yield running


@pytest.fixture(scope="session")
def sandbox(runner: asyncio.Runner) -> Iterator[Sandbox]:
    """Postgres and Valkey."""
    opened = open_sandbox()
    yield runner.run(opened.__aenter__())
    runner.run(opened.__aexit__(None, None, None))
