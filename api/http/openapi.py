"""The OpenAPI 3.1 document, made from the routes and from the types that validate requests and encode replies."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from typing import Any

import msgspec

from api.http.problems import ProblemKind
from api.http.routing import Access, Answer, Route
from api.schemas.problem import ProblemReply

VERSION = "1.0.0"
"""The version of the contract, not of the program."""

TITLE = "Seatline"
DESCRIPTION = """\
Course registration: seats and waitlists, first come, first served.

Errors are `application/problem+json` (RFC 9457) with a stable `code`; a refusal has all its `reasons`.
Writes take an `Idempotency-Key`: a request repeated with the same key has one effect and gets the same answer.
The catalogue may be read by anybody; everything else needs an access token from `/api/auth/login`.
"""

TAGS = {
    "Sessions": "Logging in, staying in, logging out.",
    "Catalogue": "Semesters, courses and sections with their seats.",
    "Enrolments": "A student's seats, places and timetable.",
    "Staff": "For teachers and administrators.",
    "Operations": "For operators: liveness, readiness, metrics.",
}

HEADERS = {
    "Location": "The address of its status.",
    "ETag": "Identifies this answer. Send it back as If-None-Match.",
    "Idempotent-Replayed": "`true` if this is the stored answer of an earlier request with the same key.",
    "Retry-After": "Seconds after which to try again.",
    "WWW-Authenticate": "How to authenticate.",
    "X-Request-Id": "The id of this request in the logs.",
}

REQUEST_HEADERS: dict[str, tuple[str, dict[str, Any]]] = {
    "Idempotency-Key": (
        "Choose one per intent, for instance a UUID, and repeat the request with it if the answer was lost.",
        {"type": "string", "minLength": 1, "maxLength": 128, "pattern": "^[!#-&(-~]+$"},
    ),
    "If-None-Match": ("The ETag of an earlier answer.", {"type": "string"}),
}

REF = "#/components/schemas/{name}"


def openapi_document(routes: Sequence[Route]) -> dict[str, Any]:
    """The document of these routes, in their order."""
    schemas, components = _schemas(routes)
    paths: dict[str, dict[str, Any]] = {}
    for route in routes:
        paths.setdefault(route.path, {})[route.method.lower()] = _operation(route, schemas)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": TITLE,
            "version": VERSION,
            "description": DESCRIPTION,
            "license": {"name": "MIT", "identifier": "MIT"},
        },
        "tags": [{"name": name, "description": description} for name, description in TAGS.items()],
        "paths": paths,
        "components": {
            "schemas": components,
            "securitySchemes": {"bearer": {"type": "http", "scheme": "bearer", "bearerFormat": "JWT"}},
        },
    }


def _schemas(routes: Sequence[Route]) -> tuple[dict[Any, Any], dict[str, Any]]:
    """A reference for every type in use, and the components that the references point to."""
    types: dict[Any, None] = {ProblemReply: None}
    for route in routes:
        if route.body is not None:
            types[route.body.schema] = None
        types.update((answer.schema, None) for answer in route.answers.values() if answer.schema is not None)
    references, components = msgspec.json.schema_components(list(types), ref_template=REF)
    return dict(zip(types, references, strict=True)), components


def _operation(route: Route, schemas: dict[Any, Any]) -> dict[str, Any]:
    summary, _, description = (inspect.getdoc(route.handler) or "").partition("\n\n")
    operation: dict[str, Any] = {
        "operationId": route.handler.__name__,
        "tags": [route.tag],
        "summary": " ".join(summary.split()),
        "responses": {
            **{str(status): _answer(answer, schemas) for status, answer in route.answers.items()},
            **_problem_answers(route, schemas),
        },
    }
    if description:
        operation["description"] = " ".join(description.split())
    if parameters := _parameters(route):
        operation["parameters"] = parameters
    if route.body is not None:
        content = {"application/json": {"schema": {**schemas[route.body.schema], **route.body.keywords}}}
        operation["requestBody"] = {"required": True, "content": content}
    if route.access is not Access.PUBLIC:
        operation["security"] = [{"bearer": []}]
        operation["x-roles"] = sorted(role.value for role in route.access.value)
    return operation


def _parameters(route: Route) -> list[dict[str, Any]]:
    parameters: list[dict[str, Any]] = []
    if "{id}" in route.path:
        schema = {"type": "integer", "minimum": 1, "maximum": 2**63 - 1}
        parameters.append({"name": "id", "in": "path", "required": True, "schema": schema})
    if route.query is not None:
        for field in msgspec.structs.fields(route.query.schema):
            schema = _query_schema(field.type)
            if field.default is not None:
                schema["default"] = field.default
            parameters.append({"name": field.encode_name, "in": "query", "required": field.required, "schema": schema})
    for name in route.request_headers:
        description, schema = REQUEST_HEADERS[name]
        parameters.append({"name": name, "in": "header", "description": description, "schema": schema})
    return parameters


def _query_schema(kind: Any) -> dict[str, Any]:
    """The schema of a parameter. One that is left out is not null: a query string has no null."""
    schema = msgspec.json.schema(kind)
    some = [one for one in schema.get("anyOf", [schema]) if one.get("type") != "null"]
    return dict(some[0])


def _answer(answer: Answer, schemas: dict[Any, Any]) -> dict[str, Any]:
    headers = {name: _header(name) for name in (*answer.headers, "X-Request-Id")}
    made: dict[str, Any] = {"description": answer.description, "headers": headers}
    if answer.schema is not None:
        made["content"] = {answer.media_type: {"schema": schemas[answer.schema]}}
    elif answer.media_type.startswith("text/"):
        made["content"] = {answer.media_type: {"schema": {"type": "string"}}}
    return made


def _problem_answers(route: Route, schemas: dict[Any, Any]) -> dict[str, Any]:
    by_status: dict[int, list[ProblemKind]] = {}
    for kind in route.all_problems:
        by_status.setdefault(kind.status, []).append(kind)
    return {str(status): _problem(kinds, schemas) for status, kinds in sorted(by_status.items())}


def _problem(kinds: list[ProblemKind], schemas: dict[Any, Any]) -> dict[str, Any]:
    names = {401: "WWW-Authenticate", 429: "Retry-After", 503: "Retry-After"}
    header = names.get(kinds[0].status)
    return {
        "description": " ".join(f"`{kind.code}`: {kind.title}" for kind in kinds),
        "headers": {name: _header(name) for name in (header, "X-Request-Id") if name},
        "content": {"application/problem+json": {"schema": schemas[ProblemReply]}},
    }


def _header(name: str) -> dict[str, Any]:
    return {"description": HEADERS[name], "schema": {"type": "string"}}
