"""Real services, shared by the whole run; each module gets a database of its own, cloned from a migrated template."""

from __future__ import annotations

import asyncio
import os
import shutil
import tempfile
import uuid
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

import asyncpg
import pytest
import uvloop

from cluster.config.settings import sqlalchemy_url
from cluster.embedded import EmbeddedServices
from persistence.schema.migrate import upgrade

os.environ.setdefault("RAY_ENABLE_UV_RUN_RUNTIME_ENV", "0")
os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")

TEMPLATE = "seatline_template"


def pytest_asyncio_loop_factories() -> dict[str, Callable[[], asyncio.AbstractEventLoop]]:
    """The loop that runs in production."""
    return {"uvloop": uvloop.new_event_loop}


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The real data sets, beside the checkout or where SEATLINE_DATA points."""
    path = Path(os.environ.get("SEATLINE_DATA", Path(__file__).parents[2] / "shared" / "data"))
    if not path.is_dir():
        pytest.skip(f"the real data sets are not at {path}; set SEATLINE_DATA to run this test")
    return path


@pytest.fixture(scope="session")
def short_tmp() -> Iterator[Path]:
    """A directory with a short path: sockets live in it."""
    path = Path(tempfile.mkdtemp(prefix="sl-"))
    path.chmod(0o711)  # as root, Postgres runs as another user and must get through
    yield path
    shutil.rmtree(path, ignore_errors=True)


@pytest.fixture(scope="session")
async def services(short_tmp: Path) -> AsyncIterator[EmbeddedServices]:
    """Real Postgres and Valkey."""
    async with EmbeddedServices(short_tmp / "home") as running:
        yield running


@pytest.fixture(scope="session")
async def template(services: EmbeddedServices) -> str:
    """The name of a migrated, empty database."""
    await _execute(services.database_url, f"CREATE DATABASE {TEMPLATE}")
    await upgrade(sqlalchemy_url(database(services.database_url, TEMPLATE)))
    return TEMPLATE


@pytest.fixture(scope="module")
async def database_url(services: EmbeddedServices, template: str) -> AsyncIterator[str]:
    """A migrated database for this module alone."""
    name = f"test_{uuid.uuid4().hex[:12]}"
    await _execute(services.database_url, f"CREATE DATABASE {name} TEMPLATE {template}")
    yield database(services.database_url, name)
    await _execute(services.database_url, f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture
def redis_url(services: EmbeddedServices) -> str:
    """The shared Valkey. Tests use keys of their own or flush."""
    return services.redis_url


def database(url: str, name: str) -> str:
    """``url`` for another database of the same server."""
    return urlunsplit(urlsplit(url)._replace(path=f"/{name}"))


async def _execute(url: str, statement: str) -> None:
    connection = await asyncpg.connect(url)
    try:
        await connection.execute(statement)
    finally:
        await connection.close()
