"""Faults for the soak test: each is injected, lasts for a while if it has a duration, and is undone."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Awaitable, Callable
from random import Random

import psutil

from tests.faults import moments
from tests.faults.stand import Stand, frozen
from tests.faults.tcp_proxy import Link, Trap

Fault = Callable[[Stand, Random], Awaitable[None]]

SPRING_MAX_S = 5.0
TERMINATE_ONE = (
    "SELECT pg_terminate_backend(pid) FROM (SELECT pid FROM pg_stat_activity WHERE datname = current_database() "
    "AND application_name LIKE 'seatline%' ORDER BY random() LIMIT 1) AS one"
)


async def kill_an_actor(stand: Stand, random: Random) -> None:
    os.kill(random.choice(stand.actor_pids()), signal.SIGKILL)


async def kill_all_actors(stand: Stand, _: Random) -> None:
    for pid in stand.actor_pids():
        os.kill(pid, signal.SIGKILL)


async def kill_an_actor_before_commit(stand: Stand, _: Random) -> None:
    await _sprung(stand, moments.before_commit(moments.killing(stand, then_lost=True)))


async def kill_an_actor_after_commit(stand: Stand, _: Random) -> None:
    await _sprung(stand, moments.after_commit(stand, moments.killing(stand, then_lost=True)))


async def freeze_an_actor(stand: Stand, random: Random) -> None:
    with frozen(random.choice(stand.actor_pids())):
        await asyncio.sleep(random.uniform(0.5, 7.0))


async def kill_the_api_server(stand: Stand, random: Random) -> None:
    os.kill(random.choice(stand.api_pids()), signal.SIGKILL)


async def freeze_the_api_server(stand: Stand, random: Random) -> None:
    with frozen(random.choice(stand.api_pids())):
        await asyncio.sleep(random.uniform(0.5, 3.0))


async def stop_postgres_immediately(stand: Stand, _: Random) -> None:
    os.kill(stand.services.pids["postgres"], signal.SIGQUIT)


async def kill_postgres(stand: Stand, _: Random) -> None:
    os.kill(stand.services.pids["postgres"], signal.SIGKILL)


async def freeze_postgres(stand: Stand, random: Random) -> None:
    postmaster = stand.services.pids["postgres"]
    with frozen(postmaster, *(child.pid for child in psutil.Process(postmaster).children(recursive=True))):
        await asyncio.sleep(random.uniform(0.5, 6.0))


async def black_hole_before_postgres(stand: Stand, random: Random) -> None:
    stand.postgres.black_hole()
    await asyncio.sleep(random.uniform(0.5, 7.0))


async def reset_all_connections_to_postgres(stand: Stand, _: Random) -> None:
    stand.postgres.reset_all()


async def cut_connections_to_postgres(stand: Stand, random: Random) -> None:
    stand.postgres.cut_after = random.randrange(1_000, 100_000)
    await asyncio.sleep(3.0)


async def slow_postgres(stand: Stand, random: Random) -> None:
    stand.postgres.delay_s = random.uniform(0.005, 0.1)
    await asyncio.sleep(3.0)


async def lose_the_reply_to_commit(stand: Stand, _: Random) -> None:
    async def mute(link: Link) -> None:
        link.is_muted = True

    await _sprung(stand, moments.after_commit(stand, mute))


async def terminate_backends(stand: Stand, _: Random) -> None:
    for _n in range(10):
        await stand.execute(TERMINATE_ONE)
        await asyncio.sleep(0.2)


async def refuse_writes(stand: Stand, random: Random) -> None:
    await stand.change_server_setting("default_transaction_read_only", "on")
    try:
        await asyncio.sleep(random.uniform(0.5, 4.0))
    finally:
        await stand.change_server_setting("default_transaction_read_only", None)


async def hang_commits(stand: Stand, random: Random) -> None:
    await stand.change_server_setting("synchronous_standby_names", "nobody")
    try:
        await asyncio.sleep(random.uniform(0.5, 6.0))
    finally:
        await stand.change_server_setting("synchronous_standby_names", None)


async def kill_redis(stand: Stand, random: Random) -> None:
    os.kill(stand.services.pids["valkey"], signal.SIGKILL)
    stand.redis.refuse()
    await asyncio.sleep(random.uniform(0.0, 4.0))


async def flush_redis(stand: Stand, _: Random) -> None:
    await stand.flush_redis()


async def slow_redis(stand: Stand, random: Random) -> None:
    stand.redis.delay_s = random.uniform(0.05, 2.0)
    await asyncio.sleep(4.0)


async def black_hole_before_redis(stand: Stand, random: Random) -> None:
    stand.redis.black_hole()
    await asyncio.sleep(random.uniform(0.5, 6.0))


FAULTS: tuple[Fault, ...] = (
    kill_an_actor,
    kill_all_actors,
    kill_an_actor_before_commit,
    kill_an_actor_after_commit,
    freeze_an_actor,
    kill_the_api_server,
    freeze_the_api_server,
    stop_postgres_immediately,
    kill_postgres,
    freeze_postgres,
    black_hole_before_postgres,
    reset_all_connections_to_postgres,
    cut_connections_to_postgres,
    slow_postgres,
    lose_the_reply_to_commit,
    terminate_backends,
    refuse_writes,
    hang_commits,
    kill_redis,
    flush_redis,
    slow_redis,
    black_hole_before_redis,
)


def title(fault: Fault) -> str:
    """The name of a fault in words."""
    return fault.__name__.replace("_", " ")


async def _sprung(stand: Stand, trap: Trap) -> None:
    stand.postgres.trap = trap
    await asyncio.wait_for(trap.sprung.wait(), SPRING_MAX_S)
