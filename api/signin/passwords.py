"""Passwords: argon2id, checked on a few threads with a short queue so that a flood of logins cannot starve the rest."""

from __future__ import annotations

import asyncio
import secrets
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import bcrypt
from aiohttp import web
from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError

BCRYPT_PREFIXES = ("$2a$", "$2b$", "$2y$")
BCRYPT_BYTES_MAX = 72
"""bcrypt uses no more. The library refuses longer input today; older ones cut it."""

HASHER = PasswordHasher(time_cost=2, memory_cost=19 * 1024, parallelism=1)
"""19 MiB, two passes, one lane: what OWASP recommends. About 50 ms."""


class PasswordsBusyError(Exception):
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
        queue_max: checks that may wait for a thread.
    """

    def __init__(self, *, hasher: PasswordHasher = HASHER, workers: int = 2, queue_max: int = 32) -> None:
        self._hasher = hasher
        self._executor = ThreadPoolExecutor(workers, thread_name_prefix="passwords")
        self._waiting_max = workers + queue_max
        self._waiting = 0
        # Checked in place of the hash of an unknown user, so that the answer takes as long as for a known one.
        self._dummy = hasher.hash(secrets.token_urlsafe())

    async def verify(self, password_hash: str | None, password: str) -> PasswordCheck:
        """Check ``password`` against a hash. Without a hash the check takes as long, and fails.

        Raises:
            PasswordsBusyError: if too many checks are waiting.
        """
        if self._waiting >= self._waiting_max:
            raise PasswordsBusyError
        self._waiting += 1
        try:
            loop = asyncio.get_running_loop()
            return await loop.run_in_executor(self._executor, self._verify, password_hash, password)
        finally:
            self._waiting -= 1

    def close(self) -> None:
        """Stop the threads."""
        self._executor.shutdown(wait=False, cancel_futures=True)

    def _verify(self, password_hash: str | None, password: str) -> PasswordCheck:
        if password_hash is not None and password_hash.startswith(BCRYPT_PREFIXES):
            return self._verify_bcrypt(password_hash, password)
        try:
            self._hasher.verify(password_hash or self._dummy, password)
        except InvalidHashError:  # a format that nobody here ever wrote
            return self._verify(None, password)
        except VerificationError:
            return PasswordCheck(is_correct=False)
        if password_hash is None:
            return PasswordCheck(is_correct=False)
        better = self._hasher.hash(password) if self._hasher.check_needs_rehash(password_hash) else None
        return PasswordCheck(is_correct=True, better_hash=better)

    def _verify_bcrypt(self, password_hash: str, password: str) -> PasswordCheck:
        try:
            is_correct = bcrypt.checkpw(password.encode()[:BCRYPT_BYTES_MAX], password_hash.encode())
        except ValueError:  # a hash that is cut or mangled
            return self._verify(None, password)
        return PasswordCheck(is_correct, self._hasher.hash(password) if is_correct else None)


PASSWORDS = web.AppKey("PASSWORDS", Passwords)
