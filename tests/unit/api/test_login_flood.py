"""Logins while one address floods with 80 connections, on real argon2 and its threads."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from statistics import median

import bcrypt
import pytest
from aiohttp import ClientSession, TCPConnector
from aiohttp.test_utils import TestServer

from api.app import build_app
from api.services import ApiConfig
from api.signin.passwords import HASHER, Passwords
from persistence.redis.rate_limit import LocalRateLimiter
from tests.unit.api.fakes import OTHER_STUDENT, SECRET, STUDENT, World

CONNECTIONS = 80
LOGIN = "/api/auth/login"
FLOODER, HONEST = "203.0.113.9", "198.51.100.7"


class InMemoryLimiter:
    """The limits as a process counts them while Redis is away."""

    def __init__(self) -> None:
        self._limiter = LocalRateLimiter()

    async def hit(self, key: str, rate_per_s: float, burst: int) -> float | None:
        return self._limiter.hit(key, rate_per_s, burst)

    async def peek(self, key: str, rate_per_s: float, burst: int) -> float | None:
        return self._limiter.peek(key, rate_per_s, burst)


class NoLimiter(InMemoryLimiter):
    """No limits at all: what the queue does alone."""

    async def hit(self, key: str, rate_per_s: float, burst: int) -> float | None:
        return None


@asynccontextmanager
async def serving(limiter: InMemoryLimiter, bcrypt_cost: int | None) -> AsyncIterator[str]:
    world = World()
    if bcrypt_cost is not None:  # then every failure takes as long as one of this account
        imported = bcrypt.hashpw(b"right", bcrypt.gensalt(bcrypt_cost)).decode()
        world.accounts.change(OTHER_STUDENT.user_id, password_hash=imported)
    world.accounts.change(STUDENT.user_id, password_hash=HASHER.hash("right"))
    world.limiter = limiter  # type: ignore[assignment]
    app = build_app(world.services(ApiConfig(SECRET, trusted_proxies=("127.0.0.1",))), passwords=Passwords())
    async with TestServer(app) as server:
        yield str(server.make_url(LOGIN))


@pytest.mark.parametrize("bcrypt_cost", [None, 10])
@pytest.mark.parametrize("limiter", [InMemoryLimiter, NoLimiter])
async def test_an_honest_user_gets_in_within_two_seconds(
    limiter: type[InMemoryLimiter], bcrypt_cost: int | None
) -> None:
    flooded: Counter[int] = Counter()
    async with serving(limiter(), bcrypt_cost) as url, ClientSession(connector=TCPConnector(limit=0)) as session:

        async def login(email: str, password: str, address: str) -> int:
            body = {"email": email, "password": password}
            async with session.post(url, json=body, headers={"X-Forwarded-For": address}) as answer:
                await answer.read()
                return answer.status

        async def flood(connection: int) -> None:
            number = 0
            while True:
                number += 1
                status = await login(f"{connection}.{number}@example.edu", "guess", FLOODER)
                flooded[status] += 1
                if status != 401:
                    await asyncio.sleep(0.02)

        flooders = [asyncio.create_task(flood(one)) for one in range(CONNECTIONS)]
        while sum(flooded.values()) < CONNECTIONS:
            await asyncio.sleep(0.01)
        waits_s, turns = [], []
        for _ in range(8):
            started_at, flooded_before = time.monotonic(), flooded[401]
            assert await login(STUDENT.email, "right", HONEST) == 200
            waits_s.append(time.monotonic() - started_at)
            turns.append(flooded[401] - flooded_before)
        for one in flooders:
            one.cancel()
        await asyncio.gather(*flooders, return_exceptions=True)

    # Milliseconds on a machine of its own; beside other tests a check of a password may itself take a second.
    assert median(waits_s) < 2.0
    assert max(turns) <= 12, "it is no queue of 34"
    assert flooded[503] + flooded[429] > 0, "there was no room for all of them"
    if limiter is InMemoryLimiter:
        assert flooded[401] <= 60 + 34, "those that were under way when the limit was reached are answered too"
