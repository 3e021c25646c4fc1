"""A sandbox for contestants, on the services of the test run."""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from bench.contestants.sandbox import Sandbox
from cluster.embedded import EmbeddedServices

FIRST_REDIS_DATABASE = 8
"""Away from the one that the other tests use."""


@pytest.fixture
def sandbox(services: EmbeddedServices, short_tmp: Path) -> Sandbox:
    """A sandbox whose services go on after the test."""
    home = short_tmp / f"bench-{uuid.uuid4().hex[:8]}"
    home.mkdir()
    return Sandbox(home, services, "a secret of at least thirty-two bytes", FIRST_REDIS_DATABASE)


@pytest.fixture
async def own_database(sandbox: Sandbox, template: str) -> AsyncIterator[str]:
    """A migrated database for one test."""
    name = f"bench_{uuid.uuid4().hex[:12]}"
    yield await sandbox.clone(name, template)
    await sandbox.drop(name)
