"""The embedded services as real processes: started, started twice, stopped, killed, and orphaned."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import asyncpg
import psutil
import pytest
import redis.asyncio as redis
from sqlalchemy import text
from sqlalchemy.ext.asyncio import create_async_engine

from cluster.config.settings import sqlalchemy_url
from cluster.embedded import EmbeddedServices, ServicesAlreadyRunning, ServiceStartError, remove_files

pytestmark = pytest.mark.services

SUPERVISOR = """
import asyncio, json, signal, sys
from pathlib import Path
from cluster.embedded import EmbeddedServices

signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell that runs the tests in the background ignores it

async def main():
    async with EmbeddedServices(Path(sys.argv[1])) as services:
        print(json.dumps({"url": services.database_url, "pids": services.pids}), flush=True)
        await asyncio.Event().wait()

asyncio.run(main())
"""


@pytest.fixture
def home() -> Iterator[Path]:
    """A home of its own. Not under tmp_path: that is deep, and closed to the user that Postgres has under root."""
    base = Path(tempfile.mkdtemp(prefix="seatline-test-"))
    base.chmod(0o711)
    try:
        yield base / "home"
    finally:
        remove_files(base / "home")
        shutil.rmtree(base, ignore_errors=True)


@asynccontextmanager
async def connected(url: str) -> AsyncIterator[asyncpg.Connection]:
    connection = await asyncpg.connect(url, timeout=10)
    try:
        yield connection
    finally:
        await connection.close(timeout=5)


async def until(condition: Callable[[], bool], seconds: float = 20) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        await asyncio.sleep(0.05)


def families(pids: dict[str, int]) -> list[psutil.Process]:
    """The services' processes and all that they have started."""
    parents = [psutil.Process(pid) for pid in pids.values()]
    return parents + [child for parent in parents for child in parent.children(recursive=True)]


def none_left(processes: list[psutil.Process]) -> bool:
    return not any(process.is_running() and process.status() != psutil.STATUS_ZOMBIE for process in processes)


async def start_supervisor(home: Path) -> tuple[subprocess.Popen[str], dict[str, int]]:
    command = [sys.executable, "-c", SUPERVISOR, str(home)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)  # noqa: ASYNC220
    assert process.stdout is not None
    line = await asyncio.to_thread(process.stdout.readline)
    assert line, "the supervisor did not come up"
    return process, json.loads(line)["pids"]


async def test_both_serve_on_sockets_alone_and_leave_no_process(home: Path) -> None:
    steps: list[tuple[str, float]] = []
    async with EmbeddedServices(home, lambda step, seconds: steps.append((step, seconds))) as services:
        running = families(services.pids)
        assert not [c for process in running for c in process.net_connections("inet")]
        async with connected(services.database_url) as connection:
            settings = {
                name: await connection.fetchval(f"SHOW {name}")
                for name in ("synchronous_commit", "fsync", "data_checksums", "server_encoding", "listen_addresses")
            }
            assert await connection.fetchval("SELECT current_database()::text") == "seatline"
        assert settings == {
            "synchronous_commit": "on",
            "fsync": "on",
            "data_checksums": "on",
            "server_encoding": "UTF8",
            "listen_addresses": "",
        }
        engine = create_async_engine(sqlalchemy_url(services.database_url))
        async with engine.connect() as through_sqlalchemy:
            assert await through_sqlalchemy.scalar(text("SELECT 1")) == 1
        await engine.dispose()
        cache = redis.from_url(services.redis_url)
        assert await cache.ping()
        assert (await cache.config_get("maxmemory-policy"))["maxmemory-policy"] == "volatile-lru"
        await cache.aclose()
    assert none_left(running)
    assert [name for name, _ in steps] == [
        "directories",
        "postgres binaries",
        "postgres initdb",
        "postgres start",
        "valkey start",
    ]


async def test_data_survives_a_restart(home: Path) -> None:
    async with EmbeddedServices(home) as services, connected(services.database_url) as connection:
        await connection.execute("CREATE TABLE kept (n int); INSERT INTO kept VALUES (42)")
    async with EmbeddedServices(home) as services, connected(services.database_url) as connection:
        assert await connection.fetchval("SELECT n FROM kept") == 42


async def test_second_start_is_refused_with_the_process_id(home: Path) -> None:
    supervisor, _ = await start_supervisor(home)
    try:
        with pytest.raises(ServicesAlreadyRunning, match=f"process {supervisor.pid}"):
            async with EmbeddedServices(home):
                pass
        assert EmbeddedServices.attach(home) is not None, "the refused one must leave the other alone"
    finally:
        supervisor.send_signal(signal.SIGINT)
        await asyncio.to_thread(supervisor.wait, 30)


async def test_one_process_cannot_start_twice_either(home: Path) -> None:
    async with EmbeddedServices(home):
        with pytest.raises(ServicesAlreadyRunning, match=f"process {os.getpid()}"):
            async with EmbeddedServices(home):
                pass


async def test_killed_supervisor_takes_its_services_along_and_the_next_start_recovers(home: Path) -> None:
    supervisor, pids = await start_supervisor(home)
    running = families(pids)
    urls = EmbeddedServices.attach(home)
    assert urls is not None
    async with connected(urls.database_url) as connection:
        await connection.execute("CREATE TABLE kept (n int); INSERT INTO kept VALUES (7)")
    supervisor.kill()
    await asyncio.to_thread(supervisor.wait)
    # At once, while the old ones may still be on their way out.
    async with EmbeddedServices(home) as services, connected(services.database_url) as connection:
        assert none_left(running)
        assert await connection.fetchval("SELECT n FROM kept") == 7


async def test_services_end_without_a_next_start(home: Path) -> None:
    supervisor, pids = await start_supervisor(home)
    running = families(pids)
    supervisor.kill()
    await asyncio.to_thread(supervisor.wait)
    await until(lambda: none_left(running))
    assert EmbeddedServices.attach(home) is None


async def test_everything_killed_at_once_recovers(home: Path) -> None:
    supervisor, pids = await start_supervisor(home)
    for pid in (*pids.values(), supervisor.pid):
        os.kill(pid, signal.SIGKILL)
    await asyncio.to_thread(supervisor.wait)
    async with EmbeddedServices(home) as services, connected(services.database_url) as connection:
        assert await connection.fetchval("SELECT 1") == 1


async def test_stale_pid_file_that_names_a_foreign_process_is_no_obstacle(home: Path) -> None:
    async with EmbeddedServices(home):
        pass
    bystander = subprocess.Popen(["sleep", "60"])  # noqa: ASYNC220
    try:
        pid_file = home / "postgres" / "postmaster.pid"
        pid_file.write_text(f"{bystander.pid}\n{home / 'postgres'}\n1\n5432\n\n\n0 0\n", encoding="utf-8")
        async with EmbeddedServices(home) as services, connected(services.database_url) as connection:
            assert await connection.fetchval("SELECT 1") == 1
        assert bystander.poll() is None, "it is not ours to end"
    finally:
        bystander.kill()
        bystander.wait()


async def test_ctrl_c_at_the_terminal_stops_all_in_order(home: Path) -> None:
    supervisor, pids = await start_supervisor(home)
    running = families(pids)
    assert all(os.getsid(pid) == pid for pid in pids.values()), "a terminal's Ctrl-C must not reach the services"
    supervisor.send_signal(signal.SIGINT)
    assert await asyncio.to_thread(supervisor.wait, 30) is not None
    assert none_left(running)
    assert "database system is shut down" in (home / "log" / "postgres.log").read_text(encoding="utf-8")


@pytest.mark.parametrize("service", ["postgres", "valkey"])
async def test_service_that_dies_is_started_again(home: Path, service: str) -> None:
    async with EmbeddedServices(home) as services:
        before = services.pids[service]
        os.kill(before, signal.SIGKILL)
        await until(lambda: services.pids[service] != before)
        await until(lambda: EmbeddedServices.attach(home) is not None)

        async def answers() -> bool:
            try:
                async with connected(services.database_url) as connection:
                    return bool(await connection.fetchval("SELECT true"))
            except (OSError, asyncpg.PostgresError):
                return False

        async with asyncio.timeout(20):
            while not await answers():
                await asyncio.sleep(0.05)
        cache = redis.from_url(services.redis_url)
        assert await cache.ping()
        await cache.aclose()


async def test_deep_home_has_its_sockets_elsewhere(home: Path) -> None:
    deep = home / ("d" * 120) / "with space"
    async with EmbeddedServices(deep) as services, connected(services.database_url) as connection:
        assert await connection.fetchval("SELECT 1") == 1
        sockets = [Path(name) for name in json.loads((deep / "run" / "temporary.json").read_text(encoding="utf-8"))]
        assert sockets
        assert all(directory.stat().st_mode & 0o777 == 0o700 for directory in sockets)
        assert EmbeddedServices.attach(deep) is not None
    assert not any(directory.exists() for directory in sockets)


async def test_home_that_only_we_can_enter_works_and_stays_closed(home: Path) -> None:
    home.parent.chmod(0o700)
    for number in (1, 2):
        async with EmbeddedServices(home) as services, connected(services.database_url) as connection:
            await connection.execute("CREATE TABLE IF NOT EXISTS kept (n int); INSERT INTO kept VALUES (1)")
            assert await connection.fetchval("SELECT count(*) FROM kept") == number
    assert home.parent.stat().st_mode & 0o777 == 0o700
    if os.geteuid() == 0:
        elsewhere = (home / "postgres").readlink()
        assert elsewhere.stat().st_mode & 0o777 == 0o700
        remove_files(home)
        assert not elsewhere.parent.exists()


async def test_attach_finds_what_runs_and_nothing_else(home: Path) -> None:
    assert EmbeddedServices.attach(home) is None
    async with EmbeddedServices(home) as services:
        urls = EmbeddedServices.attach(home)
        assert urls is not None
        assert (urls.database_url, urls.redis_url) == (services.database_url, services.redis_url)
    assert EmbeddedServices.attach(home) is None


async def test_failed_start_shows_the_log_and_leaves_nothing(home: Path) -> None:
    async with EmbeddedServices(home):
        pass
    (home / "postgres" / "postgresql.auto.conf").write_text("no_such_setting = 1\n", encoding="utf-8")
    with pytest.raises(ServiceStartError, match="no_such_setting"):
        async with EmbeddedServices(home):
            pass
    (home / "postgres" / "postgresql.auto.conf").write_text("", encoding="utf-8")
    async with EmbeddedServices(home) as services:
        assert set(services.pids) == {"postgres", "valkey"}


async def test_start_that_gets_cancelled_leaves_nothing(home: Path) -> None:
    async def enter() -> None:
        async with EmbeddedServices(home):
            pytest.fail("it was to be cancelled before")

    task = asyncio.create_task(enter())
    await until(lambda: (home / "postgres.new").exists() or (home / "postgres").exists())
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    async with EmbeddedServices(home) as services, connected(services.database_url) as connection:
        assert await connection.fetchval("SELECT 1") == 1


async def test_using_it_before_it_runs_is_an_error(home: Path) -> None:
    with pytest.raises(RuntimeError, match="async with"):
        _ = EmbeddedServices(home).database_url
