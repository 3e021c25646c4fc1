"""Databases for single tests, for tests that damage them: a history cannot be cleaned."""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import asyncpg
import pytest
from redis.asyncio import Redis

from cluster.embedded import EmbeddedServices
from tests.conftest import database


@asynccontextmanager
async def _new_database(services: EmbeddedServices, template: str) -> AsyncIterator[str]:
    name = f"test_{uuid.uuid4().hex[:12]}"
    connection = await asyncpg.connect(services.database_url)
    try:
        await connection.execute(f"CREATE DATABASE {name} TEMPLATE {template}")
        yield database(services.database_url, name)
        await connection.execute(f"DROP DATABASE {name} WITH (FORCE)")
    finally:
        await connection.close()


@pytest.fixture
async def fresh_database_url(services: EmbeddedServices, template: str) -> AsyncIterator[str]:
    """A migrated database for this test alone."""
    async with _new_database(services, template) as url:
        yield url


@pytest.fixture
async def empty_database_url(services: EmbeddedServices) -> AsyncIterator[str]:
    """A database without a single table."""
    async with _new_database(services, "template1") as url:
        yield url


@pytest.fixture
async def redis(redis_url: str) -> AsyncIterator[Redis]:
    """A client of a Redis that holds nothing."""
    client = Redis.from_url(redis_url)
    await client.flushall()
    yield client
    await client.aclose()
