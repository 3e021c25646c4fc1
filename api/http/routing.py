"""What a route declares. The application, the hot path and the OpenAPI document are built from it."""

from __future__ import annotations

import enum
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from aiohttp import hdrs, web
from aiohttp.typedefs import Handler

from allocator.model.read_models import Role
from api.http import problems
from api.http.audit import note
from api.http.bodies import JsonBody, QueryString
from api.http.errors import ApiError
from api.http.express import ExpressHandler
from api.http.problems import ProblemKind
from api.signin.principals import PRINCIPAL
from api.signin.tokens import ACCESS_TOKENS

ID_PATTERN = "[0-9]{1,19}"


class Access(enum.Enum):
    """Which roles a route is for. It is enforced as it is declared."""

    PUBLIC = frozenset[Role]()
    USER = frozenset(Role)
    STUDENT = frozenset({Role.STUDENT})
    STAFF = frozenset({Role.TEACHER, Role.ADMIN})
    ADMIN = frozenset({Role.ADMIN})


@dataclass(frozen=True, slots=True)
class Answer:
    """One of the answers of a route when all is well. ``schema`` is None for an answer that is not JSON."""

    description: str
    schema: Any = None
    media_type: str = "application/json"
    headers: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Hot:
    """Declares a route hot: a rush is made of requests to it, so the edge (`api/edge/`) treats them specially.

    Args:
        express_handler: answers its requests on the express lane.
        needs_admission: whether its requests go through ``Admission``, and are refused if there is no room or if
            their student floods.
    """

    express_handler: type[ExpressHandler]
    needs_admission: bool = False


@dataclass(frozen=True, slots=True)
class Route:
    """One operation of the API. Its summary and description are the docstring of its handler.

    Args:
        path: template of the path, with ``{id}`` for the one id that it may have.
        answers: by status.
        problems: kinds of problems beside those that follow from access, body, path and query.
        request_headers: names of the headers that it uses.
        needs_store: whether it cannot answer while the database is away.
        hot: set for a hot route.
    """

    method: str
    path: str
    handler: Handler
    tag: str
    access: Access
    answers: Mapping[int, Answer]
    problems: tuple[ProblemKind, ...] = ()
    body: JsonBody[Any] | None = None
    query: QueryString[Any] | None = None
    request_headers: tuple[str, ...] = ()
    needs_store: bool = field(default=True, kw_only=True)
    hot: Hot | None = field(default=None, kw_only=True)

    @property
    def key(self) -> tuple[str, str]:
        """Method and path, by which metrics name the route."""
        return self.method, self.path

    @property
    def all_problems(self) -> tuple[ProblemKind, ...]:
        """All kinds of problems that this route may answer with."""
        kinds: list[ProblemKind] = []
        if self.access is not Access.PUBLIC:
            kinds.append(problems.UNAUTHENTICATED)
            if self.access is not Access.USER:
                kinds.append(problems.FORBIDDEN)
        if "{id}" in self.path:
            kinds.append(problems.NOT_FOUND)
        if self.body is not None:
            kinds += [problems.MALFORMED_BODY, problems.BODY_TIMEOUT, problems.BODY_TOO_LARGE]
            kinds += [problems.UNSUPPORTED_MEDIA_TYPE, problems.INVALID]
        elif self.query is not None:
            kinds.append(problems.INVALID)
        store = (problems.OVERLOADED, problems.UNAVAILABLE) if self.needs_store else ()
        return tuple(dict.fromkeys([*kinds, *self.problems, *store]))


def add_route(app: web.Application, route: Route, with_admission: Callable[[Handler], Handler]) -> None:
    """Serve ``route`` to the roles that it is for. A route for GET also answers HEAD, and with a slash at its end.

    Only below ``/api/``: a balancer that keeps strangers from ``/metrics`` need not know of ``/metrics/``.

    Args:
        app: the application.
        route: what is served.
        with_admission: puts admission before the handler of a route that needs it.
    """
    path = route.path.replace("{id}", f"{{id:{ID_PATTERN}}}")
    handler = _guarded(route)
    if route.hot is not None and route.hot.needs_admission:
        handler = with_admission(handler)
    app.router.add_route(route.method, path, handler)
    if route.method == hdrs.METH_GET:
        app.router.add_route(hdrs.METH_HEAD, path, handler)
        if path.startswith("/api/"):
            app.router.add_route(route.method, f"{path}/", handler)
            app.router.add_route(hdrs.METH_HEAD, f"{path}/", handler)


def _guarded(route: Route) -> Handler:
    if route.access is Access.PUBLIC:
        return route.handler
    roles, handler = route.access.value, route.handler

    async def guard(request: web.Request) -> web.StreamResponse:
        principal = request.app[ACCESS_TOKENS].principal(request.headers.get(hdrs.AUTHORIZATION))
        if principal.role not in roles:
            note(request, "forbidden", principal.user_id)
            raise ApiError(problems.FORBIDDEN)
        request[PRINCIPAL] = principal
        return await handler(request)

    return guard
