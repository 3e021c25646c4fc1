"""X-Forwarded-For, believed only from proxies that are trusted to set it."""

from __future__ import annotations

from ipaddress import ip_address, ip_network

from aiohttp import web
from aiohttp.typedefs import Handler, Middleware
from aiohttp_remotes import XForwardedFiltered


def make_proxy_middleware(trusted: tuple[str, ...]) -> Middleware:
    """A middleware that gives requests from trusted proxies the address of their client.

    ``XForwardedFiltered`` reads the header whoever sends it; a client that reaches us directly could name any
    address in it, and so evade limits by address.

    Args:
        trusted: addresses or networks, such as ``10.0.0.0/8``.
    """
    networks = [ip_network(one) for one in trusted]
    forwarded = XForwardedFiltered(set(networks))

    @web.middleware
    async def believe_proxies(request: web.Request, handler: Handler) -> web.StreamResponse:
        peer = ip_address(request.remote) if request.remote else None
        if peer is None or not any(peer in network for network in networks):
            return await handler(request)
        answer: web.StreamResponse = await forwarded.middleware(request, handler)
        return answer

    return believe_proxies
