"""Semesters: the list, and which one a query means."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import msgspec
from aiohttp import web

from api.http import problems
from api.http.errors import ApiError
from api.http.read_through import checked, read_through
from api.http.replies import encode, tagged_reply
from api.http.routing import Access, Answer, Route
from api.http.typed_text import folded
from api.schemas.catalogue import SemesterList, SemesterReply
from api.services import SERVICES

TTL_S = 300.0

T = TypeVar("T")

_decode = msgspec.json.Decoder(SemesterList).decode
_check = checked(_decode)


async def list_semesters(request: web.Request) -> web.Response:
    """All semesters, the newest first."""
    return tagged_reply(request, await _cached(request, _check))


async def find_semester(request: web.Request, wanted: str) -> SemesterReply:
    """The semester that a query names by code, in any case, or else by id.

    Raises:
        ApiError: 422, if there is none.
    """
    items = (await _cached(request, _decode)).items
    by_code = next((one for one in items if one.code == wanted), None)
    alike = by_code or next((one for one in items if folded(one.code) == folded(wanted)), None)
    found = alike or next((one for one in items if str(one.id) == wanted), None)
    if found is None:
        raise ApiError(problems.INVALID, "There is no such semester. GET /api/semesters has the codes.")
    return found


async def _cached(request: web.Request, decode: Callable[[bytes], T]) -> T:
    async def load() -> bytes:
        semesters = await request.app[SERVICES].catalogue.semesters()
        return encode(SemesterList([SemesterReply.of(one) for one in semesters]))

    # In the family of the course lists: the importer that changes one changes the other.
    return await read_through(request, "courses:semester", "courses:semester:index", TTL_S, load, decode)


ROUTES = (
    Route(
        "GET",
        "/api/semesters",
        list_semesters,
        "Catalogue",
        Access.PUBLIC,
        {200: Answer("The semesters.", SemesterList, headers=("ETag",)), 304: Answer("Nothing has changed.")},
        request_headers=("If-None-Match",),
    ),
)
