"""An event loop for benchmarks of coroutines, and services for those of the store."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest
import uvloop

from bench.stand import Stand, open_stand


@pytest.fixture(scope="session")
def runner() -> Iterator[asyncio.Runner]:
    """The loop that runs in production."""
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as running:
        yield running


@pytest.fixture(scope="session")
def stand(runner: asyncio.Runner) -> Iterator[Stand]:
    """Real services."""
    opened = open_stand()
    yield runner.run(opened.__aenter__())
    runner.run(opened.__aexit__(None, None, None))
