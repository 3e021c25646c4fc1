"""What a route declares. The application is built from it, and so is the OpenAPI document."""

from __future__ import annotations

import enum
from collections.abc import Mapping
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
    """Whom a route answers. What is declared here is what is enforced."""

    PUBLIC = frozenset[Role]()
    USER = frozenset(Role)
    STUDENT = frozenset({Role.STUDENT})
    STAFF = frozenset({Role.TEACHER, Role.ADMIN})
    ADMIN = frozenset({Role.ADMIN})


@dataclass(frozen=True, slots=True)
class Answer:
    """One way in which a route answers when all is well. ``schema`` is None for what is not JSON."""

    description: str
    schema: Any = None
    media_type: str = "application/json"
    headers: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Hot:
    """What makes a route hot: a rush is made of requests to it, so the edge (`api/edge/`) knows it by its first bytes.

    Args:
        express_handler: answers its requests on the express lane.
        needs_admission: whether its requests are refused while as many are under way as are decided soon enough, and
            while the student who sends them floods.
    """

    express_handler: type[ExpressHandler]
    needs_admission: bool = False


@dataclass(frozen=True, slots=True)
class Route:
    """One operation. Its summary and description are the docstring of its handler.

    Args:
        path: with ``{id}`` for the one id that it may have.
        answers: by status.
        problems: kinds of problem beside those that follow from the rest (access, body, path, query).
        request_headers: names of headers that it heeds.
        needs_store: whether it may be kept from answering by a database that is away.
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
        """Method and template of the path: what metrics call the route."""
        return self.method, self.path

    @property
    def all_problems(self) -> tuple[ProblemKind, ...]:
        """Every kind of problem that this route may answer with."""
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


def add_route(app: web.Application, route: Route) -> None:
    """Serve ``route``, to those whom it is for. What answers GET answers HEAD too."""
    path = route.path.replace("{id}", f"{{id:{ID_PATTERN}}}")
    handler = _guarded(route)
    app.router.add_route(route.method, path, handler)
    if route.method == hdrs.METH_GET:
        app.router.add_route(hdrs.METH_HEAD, path, handler)


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
