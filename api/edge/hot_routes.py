"""Hot routes, as the edge recognises them. Which routes these are, each route says itself (``Route.hot``)."""

from __future__ import annotations

import re

from aiohttp import web

from api.http.replies import WireReplies
from api.http.routing import Hot, Route

ID = "([1-9][0-9]{0,17})"
"""An id that is certainly one. Whatever else the route allows is left to its usual handler."""


class HotRoute:
    """A hot route: what its requests look like, and the express handler that answers them.

    Args:
        route: the route as it is declared.
        hot: what it declares as a hot one.
        app, replies: for its express handler.
    """

    __slots__ = ("_path", "_pattern", "first_bytes", "handler", "method", "needs_admission")

    def __init__(self, route: Route, hot: Hot, app: web.Application, replies: WireReplies) -> None:
        before_id, has_id, after_id = route.path.partition("{id}")
        self.method = route.method
        self._path = route.path
        self._pattern = re.compile(re.escape(before_id) + ID + re.escape(after_id)) if has_id else None
        first_line = f"{route.method} {before_id}" + ("" if has_id else " HTTP/1.1\r\n")
        self.first_bytes = first_line.encode("ascii")
        """Every request of this route begins like this; where there is an id, so do some of other routes."""
        self.needs_admission = hot.needs_admission
        self.handler = hot.express_handler(app, route.method, route.path, replies)

    def path_id(self, path: str) -> int | None:
        """The id in a path of this route, 0 if it has none. None if the path is of another route."""
        if self._pattern is None:
            return 0 if path == self._path else None
        found = self._pattern.fullmatch(path)
        return None if found is None else int(found[1])
