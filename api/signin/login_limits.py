"""Limits on logins: by account, by address, and more strictly on failures; with room for who was here before."""

from __future__ import annotations

import hashlib
from collections import Counter, OrderedDict

from aiohttp import web

from api.ports import RateLimiter

SAME_ACCOUNT_FACTOR = 10
"""How many times as often all addresses together may try an account as one address may: enough that its owner gets in
while somebody else guesses, too little to guess a password."""
SAME_NETWORK_FACTOR = 60
"""The same for all accounts from one address: a whole campus may be behind it."""
FAILED_FACTOR = 6
"""The same for logins that fail, from an address from which nobody logged in before."""
FAILED_KNOWN_FACTOR = 24
"""The same from one that is known: of many people some mistype."""

ACCOUNTS_MAX = 50_000
NETWORKS_EACH = 4
"""Accounts, and networks of each, that are remembered. So nobody can have more than a few of others forgotten."""


def account_key(email: str) -> str:
    """What an account is called in limits: no personal data in keys."""
    return hashlib.sha256(email.lower().encode("utf-8", "surrogatepass")).hexdigest()[:32]


class KnownSenders:
    """From which networks accounts have logged in, in this process. Those that did so last are kept.

    Args:
        accounts_max, networks_each: how many accounts, and networks of each, are kept.
    """

    def __init__(self, accounts_max: int = ACCOUNTS_MAX, networks_each: int = NETWORKS_EACH) -> None:
        self._accounts_max = accounts_max
        self._networks_each = networks_each
        self._networks: OrderedDict[str, OrderedDict[str, None]] = OrderedDict()
        self._accounts_of: Counter[str] = Counter()

    def add(self, network: str, account: str) -> None:
        """The account has logged in from this network."""
        networks = self._networks.setdefault(account, OrderedDict())
        self._networks.move_to_end(account)
        if network not in networks:
            self._accounts_of[network] += 1
        networks[network] = None
        networks.move_to_end(network)
        if len(networks) > self._networks_each:
            self._forget(networks.popitem(last=False)[0])
        if len(self._networks) > self._accounts_max:
            _, forgotten = self._networks.popitem(last=False)
            for one in forgotten:
                self._forget(one)

    def has(self, network: str, account: str) -> bool:
        """Whether the account has logged in from this network."""
        return network in self._networks.get(account, ())

    def has_network(self, network: str) -> bool:
        """Whether anybody has logged in from it."""
        return network in self._accounts_of

    def _forget(self, network: str) -> None:
        self._accounts_of[network] -= 1
        if not self._accounts_of[network]:
            del self._accounts_of[network]


class LoginLimits:
    """The limits on logins of one application.

    A login is counted by account and network together. Unless that account has logged in from that network before, it
    is counted by account and by network as well, and failures of the network count against it. From a network that is
    known an account has a limit apart: who guesses from elsewhere does not lock its owner out.

    Args:
        limiter: counts, for all processes.
        rate_per_s, burst: for one account from one network.
    """

    def __init__(self, limiter: RateLimiter, rate_per_s: float, burst: int) -> None:
        self._limiter = limiter
        self._rate_per_s = rate_per_s
        self._burst = burst
        self.known = KnownSenders()

    async def count(self, network: str, account: str) -> float | None:
        """Count a login. None if it is allowed, else the seconds after which to try again."""
        wait_s = await self._hit(f"login:{network}:{account}", 1)
        if wait_s is not None or self.known.has(network, account):
            return wait_s
        is_known = self.known.has_network(network)
        rate, burst = self._times(self._failed_factor(network))
        wait_s = await self._limiter.peek(_failed(network), rate, burst)
        if wait_s is None:
            wait_s = await self._hit(f"login-from:{network}", SAME_NETWORK_FACTOR)
        if wait_s is None:
            wait_s = await self._hit(f"login:{account}{':known' if is_known else ''}", SAME_ACCOUNT_FACTOR)
        return wait_s

    async def failed(self, network: str) -> None:
        """A login from this network has failed."""
        await self._hit(_failed(network), self._failed_factor(network))

    def _failed_factor(self, network: str) -> int:
        return FAILED_KNOWN_FACTOR if self.known.has_network(network) else FAILED_FACTOR

    def _times(self, factor: int) -> tuple[float, int]:
        return self._rate_per_s * factor, self._burst * factor

    async def _hit(self, key: str, factor: int) -> float | None:
        rate_per_s, burst = self._times(factor)
        return await self._limiter.hit(key, rate_per_s, burst)


def _failed(network: str) -> str:
    return f"login-failed:{network}"


LOGIN_LIMITS = web.AppKey("LOGIN_LIMITS", LoginLimits)
