"""A testbed for contestants, on the services of the test run."""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from bench.contestants.testbed import Testbed
from cluster.embedded import EmbeddedServices

FIRST_REDIS_DATABASE = 8
"""Away from the one that the other tests use."""


@pytest.fixture
def testbed(services: EmbeddedServices, short_tmp: Path) -> Testbed:
    """A stand whose services go on after the test."""
    home = short_tmp / f"bench-{uuid.uuid4().hex[:8]}"
    home.mkdir()
    return Testbed(home, services, "a secret of at least thirty-two bytes", FIRST_REDIS_DATABASE)


@pytest.fixture
async def own_database(testbed: Testbed, template: str) -> AsyncIterator[str]:
    """A migrated database for one test."""
    name = f"bench_{uuid.uuid4().hex[:12]}"
    yield await testbed.clone(name, template)
    await testbed.drop(name)
