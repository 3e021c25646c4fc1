"""The express lane: offers a request of a hot route to the express handler of that route.

aiohttp's parser has read the request; what is left for the handler is a few look-ups, a command to the gateway or a
look at a section in memory, and bytes to write when the answer is there. Whatever the handler does not take, the
usual handler of the route gets.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from aiohttp import HttpVersion11, hdrs, web
from aiohttp.http_parser import RawRequestMessage

from api.edge.hot_routes import HotRoute
from api.http.bodies import BODY_BYTES_MAX
from api.http.express import ExpressClient
from api.http.replies import WireReplies
from api.http.routing import Route
from api.monitoring.readiness import READINESS
from api.services import SERVICES


class ExpressLane:
    """The express lane of one application.

    Args:
        app: the application.
        routes: its routes; those that are hot get an express handler.
        headers: what every answer has beside its own.
    """

    def __init__(self, app: web.Application, routes: Iterable[Route], headers: Mapping[str, str]) -> None:
        replies = WireReplies(headers)
        self.hot_routes = tuple(HotRoute(one, one.hot, app, replies) for one in routes if one.hot is not None)
        self.readiness = app[READINESS]
        self._has_origins = bool(app[SERVICES].config.cors_origins)

    def take(self, route: HotRoute, message: RawRequestMessage, body: bytes, client: ExpressClient) -> bool:
        """Offer a whole request to the express handler of a route.

        Args:
            route: the one whose first bytes the request has.
            message: the head of the request, as aiohttp's parser read it.
            body: all of it.
            client: told once if the request is taken, perhaps before this returns.

        Returns:
            Whether it was taken. If not, nothing has happened.
        """
        headers = message.headers
        if message.should_close or message.version != HttpVersion11 or len(body) > BODY_BYTES_MAX:
            return False
        if self._has_origins and hdrs.ORIGIN in headers:
            return False
        path_id = route.path_id(message.path)
        if path_id is None or message.method != route.method:
            return False
        return route.handler.take(headers, body, path_id, client)
