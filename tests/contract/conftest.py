"""The store under test: every test of this folder runs on the store in memory and on Postgres."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from tests.sample_campus import MemoryWorld, PostgresWorld, World


@pytest.fixture(params=["memory", "postgres"])
async def world(request: pytest.FixtureRequest, database_url: str) -> AsyncIterator[World]:
    """An empty campus."""
    if request.param == "memory":
        yield MemoryWorld()
        return
    postgres = await PostgresWorld.create(database_url)
    yield postgres
    await postgres.close()
