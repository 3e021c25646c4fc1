"""One section: its seats for everybody, its roster for staff."""

from __future__ import annotations

from aiohttp import web

from allocator.model.read_models import Role, Roster
from api.http import problems
from api.http.audit import record
from api.http.bodies import path_id
from api.http.errors import ApiError
from api.http.replies import encode, json_reply, tagged_reply
from api.http.routing import Access, Answer, Route
from api.schemas.catalogue import SectionReply
from api.schemas.staff import RosterReply
from api.services import SERVICES
from api.signin.principals import PRINCIPAL


async def show_section(request: web.Request) -> web.Response:
    """One section with its seats, as they were after its last change."""
    section_id = path_id(request)

    section = await request.app[SERVICES].seats.section(section_id)
    if section is None:
        raise no_such_section()
    return tagged_reply(request, encode(SectionReply.of(section)))


async def show_roster(request: web.Request) -> web.Response:
    """Who is in a section and who waits for it. Teachers see those of their own sections; every look is on record."""
    return json_reply(RosterReply.of(await load_roster(request, "roster.read")))


async def load_roster(request: web.Request, action: str) -> Roster:
    """The roster of the path's section, for those who may see it; that they do is on record as ``action``.

    Raises:
        ApiError: there is no such section, or another teacher teaches it.
    """
    section_id = path_id(request)
    roster = await request.app[SERVICES].rosters.roster(section_id)
    if roster is None:
        raise no_such_section()
    if request[PRINCIPAL].role is not Role.ADMIN:
        await _require_own_section(request, section_id)
    await record(request, action, f"section:{section_id}")
    return roster


def no_such_section() -> ApiError:
    """There is no section of the path's id."""
    return ApiError(problems.NOT_FOUND, "There is no such section.")


async def _require_own_section(request: web.Request, section_id: int) -> None:
    teacher_user_id = await request.app[SERVICES].rosters.teacher_user_id(section_id)
    if teacher_user_id != request[PRINCIPAL].user_id:
        await record(request, "roster.refused", f"section:{section_id}")
        raise ApiError(problems.FORBIDDEN, "Another teacher teaches this section.")


ROUTES = (
    Route(
        "GET",
        "/api/sections/{id}",
        show_section,
        "Catalogue",
        Access.PUBLIC,
        {
            200: Answer("The section.", SectionReply, headers=("ETag",)),
            304: Answer("Nothing has changed."),
        },
        request_headers=("If-None-Match",),
    ),
    Route(
        "GET",
        "/api/sections/{id}/roster",
        show_roster,
        "Staff",
        Access.STAFF,
        {200: Answer("The roster.", RosterReply)},
    ),
)
