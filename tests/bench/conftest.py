"""A stand for contestants on the services of the run."""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from bench.stand import Stand
from cluster.embedded import EmbeddedServices

FIRST_REDIS_DATABASE = 8
"""Away from the one that the other tests use."""


@pytest.fixture
def stand(services: EmbeddedServices, short_tmp: Path) -> Stand:
    """A stand whose services go on after the test."""
    home = short_tmp / f"bench-{uuid.uuid4().hex[:8]}"
    home.mkdir()
    return Stand(home, services, "a secret of at least thirty-two bytes", FIRST_REDIS_DATABASE)


@pytest.fixture
async def own_database(stand: Stand, template: str) -> AsyncIterator[str]:
    """A migrated database for one test."""
    name = f"bench_{uuid.uuid4().hex[:12]}"
    yield await stand.clone(name, template)
    await stand.drop(name)
