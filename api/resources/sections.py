"""One section: its seats for everybody, its roster for staff."""

from __future__ import annotations

import re

from aiohttp import hdrs, web
from multidict import CIMultiDictProxy

from allocator.model.read_models import Role, Roster, SectionView
from api.http import problems
from api.http.audit import record
from api.http.bodies import path_id
from api.http.errors import ApiError
from api.http.express import ExpressClient, ExpressHandler, PendingRequest
from api.http.replies import WireReplies, encode, json_reply, tag_of, tagged_reply
from api.http.routing import Access, Answer, Hot, Route
from api.schemas.catalogue import SectionReply
from api.schemas.staff import RosterReply
from api.services import SERVICES
from api.signin.principals import PRINCIPAL

SHOWN_MAX = 50_000

_one_tag = re.compile(r'"[^",]*"').fullmatch


async def show_section(request: web.Request) -> web.Response:
    """One section, with its seats after its last change."""
    section_id = path_id(request)

    section = await request.app[SERVICES].seats.section(section_id)
    if section is None:
        raise no_such_section()
    return tagged_reply(request, encode(SectionReply.of(section)))


class ShownSection:
    """A section as it was last shown. Its body and entity tag are made once for each change."""

    __slots__ = ("body", "tag", "view")

    def __init__(self, view: SectionView) -> None:
        self.view = view
        self.body = encode(SectionReply.of(view))
        self.tag = tag_of(self.body)


class ExpressShowSection(ExpressHandler):
    """``show_section`` on the express lane, for sections in memory."""

    def __init__(self, app: web.Application, method: str, path: str, replies: WireReplies) -> None:
        super().__init__(app, method, path, replies)
        self._sections = app[SERVICES].seats
        self._shown: dict[int, ShownSection] = {}

    def take(self, headers: CIMultiDictProxy[str], body: bytes, path_id: int, client: ExpressClient) -> bool:
        """Take the request if the section is in memory and at most one entity tag is named."""
        known = headers.get(hdrs.IF_NONE_MATCH)
        if body or (known is not None and not _one_tag(known)):
            return False
        pending = PendingRequest(self, headers)

        def tell(view: SectionView | None) -> None:
            if view is None:
                client.hand_back()
                return
            shown = self._shown_as(view)
            status, body = (304, None) if known == shown.tag else (200, shown.body)
            client.answer_express(status, self.replies.tagged(body, shown.tag, pending.request_id))
            pending.answered(status)

        return self._sections.look(path_id, tell)

    def _shown_as(self, view: SectionView) -> ShownSection:
        shown = self._shown.get(view.id)
        if shown is None or shown.view is not view:
            if len(self._shown) >= SHOWN_MAX:
                self._shown.clear()
            shown = self._shown[view.id] = ShownSection(view)
        return shown


async def show_roster(request: web.Request) -> web.Response:
    """Who is in a section and who waits for it. Teachers see their own sections; every look is on record."""
    return json_reply(RosterReply.of(await load_roster(request, "roster.read")))


async def load_roster(request: web.Request, action: str) -> Roster:
    """The roster of the path's section, for staff who may see it. The look is on record as ``action``.

    Raises:
        ApiError: 404, if there is no such section; 403, if another teacher teaches it.
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
    """The error for an id that no section has."""
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
        hot=Hot(ExpressShowSection),
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
