"""Passwords: argon2id, checked on a few threads with a short queue so that a flood of logins cannot starve the rest.

A wrong password takes the work of the slowest kind of hash that is stored, whatever kind its account has or whether
there is one: so an answer does not tell. A right one takes the work of its own kind.
"""

from __future__ import annotations

import asyncio
import math
import secrets
import time
from collections.abc import Awaitable, Callable, Hashable
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import bcrypt
from aiohttp import web
from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError

from api.signin.fair_queue import FairQueue, QueueFullError

BCRYPT_PREFIXES = ("$2a$", "$2b$", "$2y$")
BCRYPT_BYTES_MAX = 72
"""bcrypt uses no more. The library refuses longer input today; older ones cut it."""

HASHER = PasswordHasher(time_cost=2, memory_cost=19 * 1024, parallelism=1)
"""19 MiB, two passes, one lane: what OWASP recommends. About 50 ms."""


SLOWEST_TTL_S = 300.0
"""For so long after an import failures may take less time than those of the accounts that were imported."""

PasswordsBusyError = QueueFullError
"""Too many passwords wait to be checked."""


class PasswordCheck(NamedTuple):
    """Whether a password is right, and a better hash to store if the old one is weaker than those of today."""

    is_correct: bool
    better_hash: str | None = None


class Passwords:
    """Checks passwords on threads of its own.

    Args:
        hasher: checks and makes argon2 hashes.
        workers: how many threads check.
        queue_max: checks that may wait for a thread. A quarter of them are kept for known senders.
    """

    def __init__(self, *, hasher: PasswordHasher = HASHER, workers: int = 2, queue_max: int = 32) -> None:
        self._hasher = hasher
        self._executor = ThreadPoolExecutor(workers, thread_name_prefix="passwords")
        self._queue = FairQueue(workers, queue_max, queue_max // 4)
        # Checked in place of the hash of an unknown user, so that the answer takes as long as for a known one.
        self._dummy = hasher.hash(secrets.token_urlsafe())

    async def verify(
        self,
        password_hash: str | None,
        password: str,
        *,
        sender: Hashable = None,
        is_known: bool = False,
        slowest: int | None = None,
    ) -> PasswordCheck:
        """Check ``password`` against a hash. Without a hash the check takes as long, and fails.

        Args:
            password_hash: what is stored.
            password: what was sent.
            sender: who waits in turns with others.
            is_known: whether the sender goes before those who are not.
            slowest: the highest cost of the bcrypt hashes that are stored, if any.

        Raises:
            PasswordsBusyError: if too many checks are waiting.
        """
        async with self._queue.turn(sender, is_known=is_known):
            loop = asyncio.get_running_loop()
            return await loop.run_in_executor(self._executor, self._verify, password_hash, password, slowest)

    def close(self) -> None:
        """Stop the threads."""
        self._executor.shutdown(wait=False, cancel_futures=True)

    def _verify(self, password_hash: str | None, password: str, slowest: int | None) -> PasswordCheck:
        cost = _bcrypt_cost(password_hash)
        if password_hash is None or cost is None:
            return self._verify_argon2(password_hash, password, slowest)
        try:
            is_correct = bcrypt.checkpw(password.encode()[:BCRYPT_BYTES_MAX], password_hash.encode())
        except ValueError:  # a hash that is cut or mangled
            return self._verify_argon2(None, password, slowest)
        if is_correct:
            return PasswordCheck(is_correct=True, better_hash=self._hasher.hash(password))
        # What is left of the work of an argon2 hash and of the slowest bcrypt hash: each cost is twice the work.
        for more in range(cost, slowest or cost):
            _work(more)
        return self._verify_argon2(None, password, None)

    def _verify_argon2(self, password_hash: str | None, password: str, slowest: int | None) -> PasswordCheck:
        try:
            self._hasher.verify(password_hash or self._dummy, password)
        except InvalidHashError:  # a format that nobody here ever wrote
            return self._verify_argon2(None, password, slowest)
        except VerificationError:
            is_correct = False
        else:
            is_correct = password_hash is not None
        if password_hash is None or not is_correct:
            if slowest is not None:
                _work(slowest)
            return PasswordCheck(is_correct=False)
        better = self._hasher.hash(password) if self._hasher.check_needs_rehash(password_hash) else None
        return PasswordCheck(is_correct=True, better_hash=better)


class SlowestBcrypt:
    """The highest cost of the bcrypt hashes that are stored, read again every few minutes.

    Args:
        read: reads it.
        now: a monotonic clock.
    """

    def __init__(self, read: Callable[[], Awaitable[int | None]], *, now: Callable[[], float] = time.monotonic) -> None:
        self._read = read
        self._now = now
        self._reading = asyncio.Lock()
        self._until = -math.inf
        self._cost: int | None = None

    async def cost(self) -> int | None:
        """The cost; None while there are no such hashes."""
        if self._now() >= self._until:
            async with self._reading:
                if self._now() >= self._until:
                    self._cost = await self._read()
                    self._until = self._now() + SLOWEST_TTL_S
        return self._cost


def _bcrypt_cost(password_hash: str | None) -> int | None:
    if password_hash is None or not password_hash.startswith(BCRYPT_PREFIXES):
        return None
    cost = password_hash[4:6]
    return int(cost) if cost.isascii() and cost.isdigit() else 0


def _work(cost: int) -> None:
    """Do the work of a bcrypt hash of this cost."""
    bcrypt.checkpw(b"", b"$2b$%02d$" % cost + b"." * 53)


PASSWORDS = web.AppKey("PASSWORDS", Passwords)
SLOWEST_BCRYPT = web.AppKey("SLOWEST_BCRYPT", SlowestBcrypt)
