"""Faults of the machine and its operators: signals to processes, a wrong clock, a full disk."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import subprocess
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import asyncpg
import pytest

from cluster.embedded import EmbeddedServices
from tests.acceptance.test_registration import students_of
from tests.faults.conftest import OpenRow
from tests.faults.nodes import free_port
from tests.faults.row import Row
from tests.faults.stand import Stand, execute, open_stand
from tests.sample_campus import PostgresWorld

pytestmark = pytest.mark.faults

HOUR_S = 3600
CLOCK_NOTICED_S = 1.0
DISK_MB = 192
DISK_LEFT_MB = 24
FULL_MAX_S = 60.0
FULL_S = 8.0


async def test_api_server_terminated(services: EmbeddedServices, short_tmp: Path, open_row: OpenRow) -> None:
    async with (
        open_stand(services, short_tmp, "api_terminated", SEATLINE_API_SERVERS_PER_NODE="2") as stand,
        open_row(23, "an API server terminated", stand) as row,
    ):
        row.injects("SIGTERM to one of two API servers that share a port")
        old = stand.api_pids()
        os.kill(old[0], signal.SIGTERM)
        async with asyncio.timeout(30):
            while old[0] in stand.api_pids() or len(stand.api_pids()) < len(old):
                await asyncio.sleep(0.05)
        row.healed()
        await row.recovers()


async def test_node_terminated(services: EmbeddedServices, short_tmp: Path, open_row: OpenRow) -> None:
    async with (
        open_stand(services, short_tmp, "node_terminated", PORT=str(free_port())) as stand,
        open_row(23, "a whole node terminated", stand) as row,
    ):
        row.injects("SIGTERM to `seatline up`; it is started again when it has ended")
        started = time.monotonic()
        stand.seatline.process.terminate()
        async with asyncio.timeout(60):
            code = await stand.seatline.process.wait()
        row.note(f"it ended with {code} after {time.monotonic() - started:.1f} s")
        assert code == 0
        await stand.seatline.start_again()
        row.healed()
        await row.recovers()


@pytest.fixture
async def clock_stand(services: EmbeddedServices, short_tmp: Path) -> AsyncIterator[tuple[Stand, Path]]:
    """A Seatline whose wall clock is set by a file."""
    clock = short_tmp / "clock"
    clock.write_text("0", encoding="ascii")
    directory = str(Path(__file__).with_name("clock"))
    async with open_stand(
        services, short_tmp, "wrong_clock", PYTHONPATH=directory, SEATLINE_TEST_CLOCK=str(clock)
    ) as stand:
        del stand.seatline.environment["SEATLINE_TEST_CLOCK"]  # `verify` has the true one
        yield stand, clock


async def test_wall_clock_moved(clock_stand: tuple[Stand, Path], open_row: OpenRow) -> None:
    stand, clock = clock_stand
    reason = "the machine's clock is everybody's: time.time of all Python processes of Seatline is moved instead"
    async with open_row(18, "the wall clock moved by an hour", stand, nearest=reason) as row:
        closing = await semester_that_closes_in(stand, HOUR_S / 2)
        sees = {0: await enrolls(row, closing)}
        epochs = await sum_of_epochs(row)
        for offset_s in (HOUR_S, 0):
            row.injects("the clock an hour ahead" if offset_s else "and back")
            clock.write_text(str(offset_s), encoding="ascii")
            await row.steady(CLOCK_NOTICED_S)
            sees[offset_s] = await enrolls(row, closing)
            await row.steady(4.0)
        row.healed()
        await row.recovers()
        assert sees == {0: 201, HOUR_S: 409}, "the processes do not see the clock that was set"
        assert await sum_of_epochs(row) == epochs, "a lease was lost though only the wall clock moved"
        assert row.load.counts.by_code.total() == 0, "somebody noticed"
        row.note("what has a date followed the clock; no section changed hands, no request had to wait")
        await closing.close()


@pytest.fixture
def small_disk(short_tmp: Path) -> Iterator[Path]:
    """A file system of its own, in memory."""
    path = short_tmp / "small-disk"
    path.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", f"size={DISK_MB}m,mode=0711", "tmpfs", str(path)]
    if shutil.which("mount") is None or subprocess.run(mount, capture_output=True, check=False).returncode != 0:
        pytest.skip("a full disk needs a disk that may be filled: mounting a tmpfs takes root")
    yield path
    subprocess.run(["umount", "-l", str(path)], check=True)


@pytest.fixture
async def disk_stand(short_tmp: Path, small_disk: Path) -> AsyncIterator[Stand]:
    """A Seatline on a Postgres of its own, with the log on the small disk."""
    home = short_tmp / "disk"
    async with EmbeddedServices(home):
        pass  # it makes the database
    wal = home / "postgres" / "pg_wal"
    if not wal.exists():
        pytest.skip("the data directory of the embedded Postgres is elsewhere")
    moved = small_disk / "pg_wal"
    shutil.copytree(wal, moved)
    owner = wal.stat()
    for path in (moved, *moved.rglob("*")):
        os.chown(path, owner.st_uid, owner.st_gid)
    moved.chmod(0o700)
    shutil.rmtree(wal)
    wal.symlink_to(moved)
    async with EmbeddedServices(home) as services, open_stand(services, short_tmp, "disk_full") as stand:
        yield stand


@pytest.mark.timeout(600)
async def test_disk_full(disk_stand: Stand, small_disk: Path, open_row: OpenRow) -> None:
    async with open_row(24, "the disk of the write-ahead log is full", disk_stand) as row:
        ballast = small_disk / "ballast"
        free_mb = shutil.disk_usage(small_disk).free // 1_000_000
        row.injects(f"a tmpfs of {DISK_MB} MB for pg_wal, filled up; {FULL_S:.0f} s later there is room again")
        with ballast.open("wb") as file:
            file.write(bytes(max(0, free_mb - DISK_LEFT_MB) * 1_000_000))
        await until_postgres_fails(disk_stand, row)
        await row.steady(FULL_S)
        row.note(f"answered meanwhile: {dict(row.load.counts.by_code)}")
        assert row.load.counts.by_code["unavailable"] + row.load.counts.by_code["outcome_unknown"] > 0
        ballast.unlink()
        row.healed()
        await row.recovers()


async def until_postgres_fails(stand: Stand, row: Row) -> None:
    """Write log until no more fits."""
    postmaster_answers = True
    async with asyncio.timeout(FULL_MAX_S):
        while postmaster_answers:
            try:
                await execute(stand.database_url, "CREATE TABLE ballast AS SELECT generate_series(1, 100000) AS n")
                await execute(stand.database_url, "DROP TABLE ballast")
                await execute(stand.database_url, "SELECT pg_switch_wal()")
            except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
                row.note(f"Postgres: {type(error).__name__}")
                postmaster_answers = False


async def semester_that_closes_in(stand: Stand, seconds: float) -> PostgresWorld:
    """A semester with one big section, by the true clock."""
    world = await PostgresWorld.create(stand.database_url)
    await world.connection.execute(
        "UPDATE semesters SET registration_closes_at = now() + make_interval(secs => $2) WHERE id = $1",
        world.semester_id,
        seconds,
    )
    await world.add_section(1_000)
    return world


async def enrolls(row: Row, world: PostgresWorld) -> int:
    """The status that a new student of that semester gets."""
    section_id = await world.connection.fetchval("SELECT max(id) FROM course_sections")
    (student,) = await students_of(world, 1)
    return (await row.client.enroll(student, section_id)).status


async def sum_of_epochs(row: Row) -> int:
    """Rises by one for each activation."""
    epochs: int = await row.campus.connection.fetchval(
        "SELECT sum(epoch)::bigint FROM section_seats WHERE section_id = ANY($1::bigint[])", row.sections
    )
    return epochs
