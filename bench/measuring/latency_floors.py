"""Lower bounds of an enrolment's latency: a round trip through Ray, and a commit to disk.

``python -m bench.measuring.latency_floors HOME`` measures calls to a section actor of the Seatline that runs in HOME.
"""

from __future__ import annotations

import asyncio
import re
import sys
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import asyncpg
import orjson

from bench.load.measured import histogram, percentiles_ms
from cluster.clients.http import AsyncConnection, Target, get
from cluster.config.runfile import read_run_file

CALLS = 500
WARM_UP_CALLS = 50

BATCH_LINE = re.compile(rb"^seatline_actor_batch_size_(sum|count)\{[^}]*\} ([0-9.e+]+)", re.MULTILINE)


async def batches(target: Target) -> tuple[float, float]:
    """Commands decided, and turns, so far by the section actors of the Seatline at ``target``."""
    connection = AsyncConnection(target)
    try:
        body = (await connection.exchange(get(target, "/metrics"), 10.0)).body
    finally:
        connection.close()
    totals = {b"sum": 0.0, b"count": 0.0}
    for kind, value in BATCH_LINE.findall(body):
        totals[kind] += float(value)
    return totals[b"sum"], totals[b"count"]


async def commit_latency(database_url: str) -> dict[str, float]:
    """Percentiles in ms of sequential transactions that each commit a row of 100 bytes to disk."""
    connection = await asyncpg.connect(database_url, server_settings={"synchronous_commit": "on"})
    try:
        await connection.execute("CREATE TABLE IF NOT EXISTS bench_probe (id bigserial PRIMARY KEY, text text)")
        statement = await connection.prepare("INSERT INTO bench_probe (text) VALUES (repeat('x', 100))")
        return await _timed(statement.fetch)
    finally:
        await connection.close()


async def ray_latency(home: Path) -> dict[str, float]:
    """Percentiles in ms of sequential calls to a section actor that does nothing, measured by a process of its own."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "bench.measuring.latency_floors", str(home), stdout=asyncio.subprocess.PIPE
    )
    out, _ = await process.communicate()
    if process.returncode:
        raise RuntimeError(f"the probe of Ray ended with {process.returncode}")
    found: dict[str, float] = orjson.loads(out.splitlines()[-1])
    return found


async def _timed(call: Callable[[], Awaitable[Any]]) -> dict[str, float]:
    for _ in range(WARM_UP_CALLS):
        await call()
    latencies_s = []
    for _ in range(CALLS):
        started = time.perf_counter()
        await call()
        latencies_s.append(time.perf_counter() - started)
    return percentiles_ms(histogram(latencies_s))


async def _probe_ray(home: Path) -> dict[str, float]:
    from cluster.processes.deployment import memory_of_running, section_actors  # noqa: PLC0415  (importing Ray takes a second)

    run = read_run_file(home)
    if run is None:
        raise SystemExit(f"no running Seatline in {home}")
    await memory_of_running(run)  # connects
    actor = next(iter(await asyncio.to_thread(section_actors)))

    async def ping() -> None:
        await actor.ping.remote()

    return await _timed(ping)


if __name__ == "__main__":
    sys.stdout.write(orjson.dumps(asyncio.run(_probe_ray(Path(sys.argv[1])))).decode() + "\n")
