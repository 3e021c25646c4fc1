"""The list of peers: how each is run, and what a reader of its figures must know."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

HERE = Path(__file__).parent
RAY = {
    "RAY_ENABLE_UV_RUN_RUNTIME_ENV": "0",
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_worker_niceness": "0",  # as in Seatline: actors must not have a lower priority
    "RAY_worker_num_grpc_internal_threads": "1",
}

RAY_SECTIONS = 16
"""Sections of ``ray_per_request``, which has a process for each."""


@dataclass(frozen=True, slots=True)
class Peer:
    """A peer.

    Args:
        name: as in results.
        label: as in plots.
        note: what a reader of the figures must know.
        command: arguments of the Python interpreter.
        processes: how many processes share the port; uvicorn starts its own.
        sql: files to run on its database before it starts.
        durable: whether acknowledged enrolments survive the death of all processes.
        keeps_counts: whether ``verify`` can check its tables when no request is under way.
        writes_behind: whether a round ends only when ``/backlog`` is empty.
        decides: whether it decides requests at all. One that does not may get the same request again.
        reads: whether it answers reads.
        sections_max: how many sections it can serve; None for any number.
        environment: further environment variables of its processes.
    """

    name: str
    label: str
    note: str
    command: tuple[str, ...]
    processes: int = 1
    sql: tuple[str, ...] = ()
    durable: bool = True
    keeps_counts: bool = True
    writes_behind: bool = False
    decides: bool = True
    reads: bool = False
    sections_max: int | None = None
    environment: Mapping[str, str] = field(default_factory=dict)

    def command_line(self, port: int) -> list[str]:
        """The command line of one process."""
        return [sys.executable, *(part.replace("{port}", str(port)) for part in self.command)]

    def statements(self) -> list[str]:
        """SQL to run on its database before it starts."""
        return [(HERE / name).read_text(encoding="utf-8") for name in self.sql]


PEERS = {
    peer.name: peer
    for peer in (
        Peer(
            "conventional",
            "FastAPI, SQLAlchemy,\nRedis lock, FOR UPDATE",
            "uvicorn with 2 workers; a Redis lock for the section, then row locks; about ten statements a request.",
            ("-m", "uvicorn", "bench.peers.conventional:app", "--host", "127.0.0.1", "--port", "{port}",
             "--workers", "2", "--loop", "uvloop", "--http", "httptools", "--no-access-log", "--log-level", "warning"),
        ),
        Peer(
            "stored_function",
            "aiohttp, asyncpg,\none stored function",
            "One process, one round trip and one transaction a request: the strongest simple answer.",
            ("-m", "bench.peers.stored_function"),
            sql=("stored_function.sql",),
        ),
        Peer(
            "skip_locked",
            "the same with\nSKIP LOCKED seat rows",
            "A row for each free seat beside the tables; neither counts nor the order of events are kept.",
            ("-m", "bench.peers.skip_locked"),
            sql=("skip_locked.sql",),
            keeps_counts=False,
        ),
        Peer(
            "redis_lua",
            "Redis Lua, write-behind\n(not durable)",
            "NOT durable: acknowledged from the memory of one Redis; Postgres is written later. That work is counted.",
            ("-m", "bench.peers.redis_lua"),
            durable=False,
            writes_behind=True,
        ),
        Peer(
            "ray_per_request",
            "a Ray actor per section,\na call per request",
            f"A process for each section, so only {RAY_SECTIONS} sections take part; one transaction a request.",
            ("-m", "bench.peers.ray_per_request"),
            sections_max=RAY_SECTIONS,
            environment=RAY,
        ),
        Peer(
            "echo",
            "bare aiohttp echo",
            "The HTTP limit: the same request and answer, nothing checked, nothing kept. One process.",
            ("-m", "bench.peers.echo"),
            durable=False,
            keeps_counts=False,
            decides=False,
            reads=True,
        ),
    )
}  # fmt: skip
