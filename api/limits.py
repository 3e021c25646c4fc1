"""Rate limits within this process, for paths where a round trip to Redis would cost more than the work."""

from __future__ import annotations

import time
from collections.abc import Callable, Hashable
from ipaddress import IPv6Address, ip_address, ip_network

from aiohttp import web

FLOODERS_MAX = 10_000


IPV6_PREFIX = 64
"""What one subscriber has of IPv6, at least: whole addresses would be limits for nobody."""


def network_of(address: str | None) -> str:
    """What a client is limited by: its IPv4 address, or the /64 of its IPv6 address."""
    try:
        ip = ip_address(address or "")
    except ValueError:
        return str(address)
    if isinstance(ip, IPv6Address):
        return str(ip.ipv4_mapped or ip_network((int(ip), IPV6_PREFIX), strict=False))
    return str(ip)


class LocalLimiter:
    """A rate limiter by GCRA: for each key it keeps one number, the time at which a steady sender would be due again.

    Args:
        rate_per_s: calls that each key may make in the long run.
        burst: calls that it may make at once after a rest.
        keys_max: keys that are kept; beyond it, keys at rest are forgotten, which changes nothing for them.
        now: a monotonic clock.
    """

    def __init__(
        self,
        rate_per_s: float,
        burst: int,
        *,
        keys_max: int = 100_000,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self._interval_s = 1.0 / rate_per_s
        self._tolerance_s = burst * self._interval_s
        self._keys_max = keys_max
        self._now = now
        self._due_at: dict[Hashable, float] = {}

    def hit(self, key: Hashable) -> float | None:
        """Count one call of ``key``.

        Returns:
            None if the call is allowed, else the seconds after which to try again.
        """
        now = self._now()
        due_at = max(self._due_at.get(key, now), now) + self._interval_s
        excess_s = due_at - now - self._tolerance_s
        # A sum of intervals is not exact in floating point: the last call of a burst must not fail by a rounding.
        if excess_s > 1e-9:
            return excess_s
        if len(self._due_at) >= self._keys_max and key not in self._due_at:
            self._forget(now)
        self._due_at[key] = due_at
        return None

    def _forget(self, now: float) -> None:
        self._due_at = {key: due_at for key, due_at in self._due_at.items() if due_at > now}
        if len(self._due_at) >= self._keys_max:
            # Everybody is busy: forget the oldest half rather than scan at every call.
            self._due_at = dict(list(self._due_at.items())[self._keys_max // 2 :])


class Flooders:
    """Access tokens whose students have used up their limit, and until when. The edge refuses their requests unread.

    Args:
        now: a monotonic clock.
    """

    def __init__(self, *, now: Callable[[], float] = time.monotonic) -> None:
        self._now = now
        self.due_at: dict[bytes, float] = {}
        """When each is due again."""

    def add(self, authorization: str, retry_after_s: float) -> None:
        """Refuse the token of this Authorization header for ``retry_after_s`` seconds.

        At most `FLOODERS_MAX` tokens are kept.
        """
        if len(self.due_at) >= FLOODERS_MAX:
            now = self._now()
            self.due_at = {key: due_at for key, due_at in self.due_at.items() if due_at > now}
        if len(self.due_at) < FLOODERS_MAX:
            self.due_at[_token_in(authorization.encode("utf-8", "surrogateescape"))] = self._now() + retry_after_s

    def wait_s(self, authorization: bytes) -> float | None:
        """The seconds for which the token of this Authorization header is still to be refused; None if it is not."""
        token = _token_in(authorization)
        due_at = self.due_at.get(token)
        if due_at is None:
            return None
        wait_s = due_at - self._now()
        if wait_s > 0:
            return wait_s
        del self.due_at[token]
        return None


def _token_in(authorization: bytes) -> bytes:
    """What follows the scheme: one token is one key, however its sender spells the rest of the header."""
    return authorization.rstrip().rpartition(b" ")[2]


FLOODERS = web.AppKey("FLOODERS", Flooders)
ENROLLMENT_LIMIT = web.AppKey("ENROLLMENT_LIMIT", LocalLimiter)
