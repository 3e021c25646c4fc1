"""The rate limit in memory, and the queue before password hashing."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

import pytest
from argon2.exceptions import VerifyMismatchError

from api.limits import LocalLimiter
from api.signin.passwords import Passwords, PasswordsBusyError
from tests.unit.api.conftest import QUICK_HASHER


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.mark.parametrize(("rate", "burst"), [(20.0, 40), (3.0, 7), (0.1, 1)])
def test_a_burst_then_the_rate(rate: float, burst: int) -> None:
    clock = Clock()
    limiter = LocalLimiter(rate, burst, now=clock)

    assert [limiter.hit(1) for _ in range(burst)] == [None] * burst
    wait_s = limiter.hit(1)
    assert wait_s == pytest.approx(1 / rate)

    clock.now += wait_s or 0.0
    assert limiter.hit(1) is None
    assert limiter.hit(1) is not None


def test_refused_calls_do_not_count() -> None:
    clock = Clock()
    limiter = LocalLimiter(1.0, 1, now=clock)
    limiter.hit(1)
    for _ in range(100):
        limiter.hit(1)

    clock.now += 1.0

    assert limiter.hit(1) is None, "one who keeps trying must not be locked out for ever"


def test_keys_are_apart() -> None:
    limiter = LocalLimiter(1.0, 1)

    assert limiter.hit(1) is None
    assert limiter.hit(2) is None


def test_memory_is_bounded_and_those_at_rest_go_first() -> None:
    clock = Clock()
    limiter = LocalLimiter(1.0, 1, keys_max=10, now=clock)
    for key in range(10):
        limiter.hit(key)
    clock.now += 1.0
    limiter.hit(3)

    limiter.hit(99)

    assert limiter.hit(3) is not None, "a key in use is remembered"
    for key in range(1000):
        limiter.hit(key)
    assert len(limiter._due_at) <= 10


class SlowHasher:
    """Checks nothing until it is let go."""

    def __init__(self) -> None:
        self.go = threading.Event()

    def hash(self, _password: str) -> str:
        return "$slow$"

    def verify(self, _hash: str, _password: str) -> bool:
        return self.go.wait(5)

    def check_needs_rehash(self, _hash: str) -> bool:
        return False


async def test_too_many_passwords_at_once_are_turned_away() -> None:
    hasher: Any = SlowHasher()
    passwords = Passwords(hasher=hasher, workers=1, queue_max=1)
    waiting = [asyncio.create_task(passwords.verify("h", "p")) for _ in range(2)]
    await asyncio.sleep(0)

    with pytest.raises(PasswordsBusyError):
        await passwords.verify("h", "p")

    hasher.go.set()
    assert all(verdict.is_correct for verdict in await asyncio.gather(*waiting))
    assert (await passwords.verify("h", "p")).is_correct, "and let in again afterwards"
    passwords.close()


@pytest.mark.parametrize("stored", [None, "", "nonsense", "$2b$04$short", "$argon2id$v=19$broken"])
async def test_a_hash_that_is_none_is_wrong_but_no_error(stored: str | None) -> None:
    passwords = Passwords(hasher=QUICK_HASHER)

    assert await passwords.verify(stored, "anything") == (False, None)


async def test_a_weak_argon2_hash_is_replaced() -> None:
    passwords = Passwords(hasher=QUICK_HASHER)
    stronger = type(QUICK_HASHER)(time_cost=2, memory_cost=8, parallelism=1).hash("p")

    verdict = await passwords.verify(stronger, "p")

    assert verdict.is_correct
    assert verdict.better_hash is not None
    assert "t=1" in verdict.better_hash


class CountingHasher:
    """Counts what it checks; every password is wrong."""

    def __init__(self) -> None:
        self.checked = 0

    def hash(self, _password: str) -> str:
        return "$dummy$"

    def verify(self, _hash: str, _password: str) -> bool:
        self.checked += 1
        raise VerifyMismatchError


async def test_an_unknown_user_costs_what_a_known_one_does() -> None:
    hasher: Any = CountingHasher()
    passwords = Passwords(hasher=hasher)

    await passwords.verify("$known$", "wrong")
    await passwords.verify(None, "wrong")

    assert hasher.checked == 2
