"""Hostile and heavy input: malformed requests, floods, requests that cross."""

from __future__ import annotations

import asyncio
import gzip
import itertools

import aiohttp
import psutil
import pytest

from tests.acceptance.test_registration import flood, students_of
from tests.faults.conftest import OpenRow
from tests.faults.row import NO_LIMIT
from tests.faults.stand import Stand
from tests.faults.takeover import ACTORS, sections_of
from tests.unit.api.test_bodies import INVALID, JSON, MALFORMED, PATH

pytestmark = pytest.mark.faults

FLOODS = 500
PAIRS = 300
ROUNDS = 20
GROWTH_MAX_MB = 60

BOMB = gzip.compress(b" " * 100_000_000)
HOSTILE = {
    "10 MB": (b" " * 10_000_000, JSON, 413),
    "gzip bomb": (BOMB, {**JSON, "Content-Encoding": "gzip"}, 415),
    **{name: (body, JSON, 400) for name, body in MALFORMED.items()},
    **{name: (body, JSON, 422) for name, body in INVALID.items()},
}


async def test_malformed_requests(stand: Stand, open_row: OpenRow) -> None:
    async with open_row(25, "malformed requests", stand) as row:
        (pid,) = stand.api_pids()
        (student,) = await students_of(row.campus, 1)
        token = row.client.token(student)
        megabytes = rss_mb(pid)
        row.injects(f"{len(HOSTILE)} bodies that cannot be, {ROUNDS} times each; 10 MB, a gzip bomb, 10,000 levels")
        wrong: set[str] = set()
        async with aiohttp.ClientSession(stand.seatline.url) as session:
            for name, (body, headers, expected) in itertools.chain(*[HOSTILE.items()] * ROUNDS):
                status = await status_of(session, body, {**headers, "Authorization": f"Bearer {token}"})
                # 429: the student's own limit, which is told before the body is read
                if status not in {expected, 429} and not (status is None and expected == 413):
                    wrong.add(f"{name}: {status} instead of {expected}")
                await asyncio.sleep(0.05)
        row.healed()
        await row.recovers()
        grown = rss_mb(pid) - megabytes
        row.note(f"memory of the API process grew by {grown:.0f} MB")
        assert not wrong, wrong
        assert grown < GROWTH_MAX_MB


async def test_one_student_floods(stand: Stand, open_row: OpenRow) -> None:
    async with open_row(19, "a student sends 20 sections at once", stand) as row:
        row.injects(f"{FLOODS} students, each with 20 requests in parallel for sections that exclude each other")
        for _ in range(FLOODS // 50):
            await flood(row.client, row.campus, 50)
        row.note(f"all {FLOODS} hold a legal set, and were refused the rest with the right reasons")
        row.healed()
        await row.recovers()


async def test_crossed_batches(stand: Stand, open_row: OpenRow) -> None:
    async with open_row(20, "batches over students {1, 2} and {2, 1} on two actors", stand) as row:
        here, there = (sections_of(row, name) for name in ACTORS)
        students = await students_of(row.campus, 2 * PAIRS, credit_limit=NO_LIMIT)
        pairs = list(zip(students[::2], students[1::2], strict=True))
        row.injects(f"{PAIRS} pairs of students, each pair in one order to one actor and in the other to the other")
        before = await deadlocks(stand)
        for n, (one, two) in enumerate(pairs):
            first, second = here[n % len(here)], there[n % len(there)]
            wanted = [(one, first), (two, second), (two, first), (one, second)]
            asking = [row.load.enroll(student, section) for student, section in wanted]
            if n % 10 == 9:
                await asyncio.wait(asking)
        row.healed()
        await row.recovers()
        await row.steady(1.5)  # until every backend has told its statistics
        found = await deadlocks(stand) - before
        row.note(f"{found} deadlocks counted by Postgres")
        assert found == 0


async def status_of(session: aiohttp.ClientSession, body: bytes, headers: dict[str, str]) -> int | None:
    """The status of the answer; None if the server closed before it could be read, as it may when a body is too big."""
    try:
        async with session.post(PATH, data=body, headers=headers) as answer:
            return answer.status
    except aiohttp.ClientConnectionError:
        return None


def rss_mb(pid: int) -> float:
    """What a process has in memory."""
    megabytes: float = psutil.Process(pid).memory_info().rss / 1e6
    return megabytes


async def deadlocks(stand: Stand) -> int:
    """Counted by Postgres since the database was made."""
    count = await stand.fetchval("SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()")
    assert isinstance(count, int)
    return count
