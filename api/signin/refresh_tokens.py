"""Refresh tokens: random, and known to the database by their hashes only."""

from __future__ import annotations

import hashlib
import secrets

RANDOM_BYTES = 32


def new_refresh_token() -> str:
    """A token that was never given out before."""
    return secrets.token_urlsafe(RANDOM_BYTES)


def hash_of(token: str) -> bytes:
    """The hash that is stored of a refresh token. A token has 256 random bits, so a fast hash is enough."""
    return hashlib.sha256(token.encode()).digest()
