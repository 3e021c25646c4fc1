"""A Seatline as `make run` starts it, to be attacked: with its own embedded services, database roles and Ray."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from cluster.embedded import EmbeddedServices, EmbeddedUrls
from tests.acceptance.seatline import Client, Seatline
from tests.sample_campus import PostgresWorld

TRUSTED_PROXY = "127.0.0.1"


@pytest.fixture(scope="session")
async def victim(short_tmp: Path) -> AsyncIterator[Seatline]:
    """A running Seatline behind a proxy that it trusts."""
    home = short_tmp / "victim"
    home.mkdir()
    # One write a second: who has used up the burst stays refused for long enough to try things meanwhile.
    running = await Seatline.start(home, "", "", SEATLINE_TRUSTED_PROXIES=TRUSTED_PROXY, SEATLINE_ENROLLMENTS_PER_S="1")
    running.database_url = urls_of(running).database_url
    yield running
    code = await running.stop()
    assert code == 0, (home / "up.log").read_text()


def urls_of(seatline: Seatline) -> EmbeddedUrls:
    """Where its services answer."""
    urls = EmbeddedServices.attach(seatline.home)
    assert urls is not None
    return urls


@pytest.fixture
async def attacker(victim: Seatline) -> AsyncIterator[Client]:
    """A client of it."""
    async with victim.client() as opened:
        yield opened


@pytest.fixture
async def campus(victim: Seatline) -> AsyncIterator[PostgresWorld]:
    """A new semester in its database, made by the owner."""
    world = await PostgresWorld.create(victim.database_url)
    yield world
    await world.close()
