"""Forwarded headers: which client a request comes from, as told by proxies that are trusted to tell it.

Each proxy adds to the right of ``X-Forwarded-For`` where it got the request from. So the header is read from the right,
and the first address that is not of a trusted proxy is the client's. What stands left of it the client may have made
up: it is never looked at, and cannot make a request fail.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import Any

from aiohttp import hdrs, web
from aiohttp.typedefs import Handler, Middleware
from multidict import MultiMapping

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network

SCHEMES = frozenset({"http", "https"})
ENTRIES_MAX = 32
"""How many entries are read. No chain of proxies is as long; a client may send thousands, all of them trusted."""
MAPPED = IPv6Network("::ffff:0:0/96")
"""IPv4 addresses as IPv6 ones, which is how a socket for both kinds shows them."""


class TrustedProxies:
    """The proxies whose word is taken for where a request comes from.

    Args:
        trusted: addresses or networks, such as ``10.0.0.0/8``.
    """

    def __init__(self, trusted: Iterable[str]) -> None:
        self._networks = tuple(_read_network(one) for one in trusted)

    def trusts(self, address: Address) -> bool:
        """Whether this is the address of a trusted proxy."""
        return any(address in network for network in self._networks)

    def origin(self, remote: str | None, headers: MultiMapping[str]) -> Mapping[str, str]:
        """What the proxies tell about the origin of a request.

        Args:
            remote: the address of the peer, as the socket shows it.
            headers: of the request.

        Returns:
            ``remote`` and perhaps ``scheme`` of the client; empty if nothing is told by anybody who is trusted.
        """
        nearest = read_address(remote or "")
        if nearest is None or not self.trusts(nearest):
            return {}
        told: dict[str, str] = {}
        hops = 0  # entries that were read, from the right
        for entry in _entries_from_the_right(headers.getall(hdrs.X_FORWARDED_FOR, ())):
            address = read_address(entry)
            if address is None:
                break  # a trusted proxy did not say where it got the request from
            hops += 1
            told["remote"] = str(address)
            if not self.trusts(address):
                break
        schemes = list(_entries_from_the_right(headers.getall(hdrs.X_FORWARDED_PROTO, ())))
        if schemes:
            # That of the hop that was chosen; the left-most if the proxies keep fewer of these than of the addresses.
            scheme = schemes[min(max(hops, 1), len(schemes)) - 1].lower()
            if scheme in SCHEMES:
                told["scheme"] = scheme
        return told


def make_proxy_middleware(trusted: tuple[str, ...]) -> Middleware:
    """A middleware that gives requests from trusted proxies the address of their client.

    A client that reaches us directly could name any address in the header, and so evade limits by address: it is not
    believed.

    Args:
        trusted: addresses or networks, such as ``10.0.0.0/8``.
    """
    proxies = TrustedProxies(trusted)

    @web.middleware
    async def believe_proxies(request: web.Request, handler: Handler) -> web.StreamResponse:
        told: Mapping[str, Any] = proxies.origin(request.remote, request.headers)
        return await handler(request.clone(**told) if told else request)

    return believe_proxies


def read_address(text: str) -> Address | None:
    """An address in any of the spellings of proxies: with a port, in brackets, with a zone, IPv4 mapped to IPv6.

    Returns:
        The address, as IPv4 if it is a mapped one; None if it is no address, as ``unknown`` or ``_hidden`` are not.
    """
    text = text.strip().strip('"')
    if text.startswith("["):
        text, _, port = text[1:].partition("]")
        if port and not port.startswith(":"):
            return None
    elif text.count(":") == 1:
        text = text.partition(":")[0]
    try:
        address = ip_address(text.partition("%")[0])
    except ValueError:
        return None
    return (address.ipv4_mapped or address) if isinstance(address, IPv6Address) else address


def _read_network(text: str) -> Network:
    network = ip_network(text.strip(), strict=False)
    if isinstance(network, IPv6Network) and network.subnet_of(MAPPED):
        return IPv4Network((int(network.network_address) & 0xFFFFFFFF, network.prefixlen - MAPPED.prefixlen))
    return network


def _entries_from_the_right(lines: Sequence[str]) -> Iterator[str]:
    """The entries of a list that may be spread over several lines, the last one first, without empty ones."""
    left = ENTRIES_MAX
    for line in reversed(lines):
        for entry in reversed(line.rsplit(",", left)[-left:]):
            left -= 1
            if entry := entry.strip():
                yield entry
        if left <= 0:
            return
