"""A whole Seatline, shared by all acceptance tests, on the shared services and with a database of its own."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import asyncpg
import pytest

from cluster.embedded import EmbeddedServices
from tests.acceptance.seatline import Client, Seatline
from tests.conftest import database
from tests.sample_campus import PostgresWorld

DATABASE = "seatline_acceptance"


@pytest.fixture(scope="session")
async def seatline(services: EmbeddedServices, short_tmp: Path) -> AsyncIterator[Seatline]:
    """A running Seatline. It migrates its empty database by itself, and must stop cleanly at the end."""
    connection = await asyncpg.connect(services.database_url)
    await connection.execute(f"CREATE DATABASE {DATABASE}")
    await connection.close()
    home = short_tmp / "acceptance"
    home.mkdir()
    owner_url = database(services.database_url, DATABASE)
    # It serves with the rights of the app role; the tests look on as the owner.
    running = await Seatline.start(
        home,
        owner_url,
        services.redis_url,
        DATABASE_URL=database(services.app_database_url, DATABASE),
        SEATLINE_OWNER_DATABASE_URL=owner_url,
        # Soon enough for a test; the load of no other test is as uneven for as long.
        SEATLINE_HOT_PER_S="30",
        SEATLINE_HOT_FOR_S="2",
        SEATLINE_COOL_FOR_S="2",
    )
    yield running
    code = await running.stop()
    assert code == 0, (home / "up.log").read_text()


@pytest.fixture
async def client(seatline: Seatline) -> AsyncIterator[Client]:
    """A client of it."""
    async with seatline.client() as opened:
        yield opened


@pytest.fixture
async def campus(seatline: Seatline) -> AsyncIterator[PostgresWorld]:
    """A new semester in its database."""
    world = await PostgresWorld.create(seatline.database_url)
    yield world
    await world.close()
