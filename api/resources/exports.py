"""Roster exports: rosters as CSV files, for staff."""

from __future__ import annotations

from aiohttp import web

from api.http import problems
from api.http.audit import record
from api.http.bodies import QueryString, path_id
from api.http.errors import ApiError
from api.http.replies import file_reply, json_reply
from api.http.routing import Access, Answer, Route
from api.resources.sections import load_roster
from api.schemas.staff import ExportQuery, ExportReply
from api.services import SERVICES
from api.signin.principals import PRINCIPAL

CSV = "text/csv; charset=utf-8"

QUERY = QueryString(ExportQuery)


async def export_roster(request: web.Request) -> web.Response:
    """Make a CSV file of a roster, which can be fetched for a few minutes.

    Names that a spreadsheet would take for formulas begin with an apostrophe. Teachers may export the rosters of their
    own sections; every export is on record.
    """
    wanted = QUERY.read(request)
    exports = request.app[SERVICES].exports
    if exports is None:
        raise ApiError(problems.NOT_SET_UP, "There is no place for exports.")
    roster = await load_roster(request, "roster.export")
    link = await exports.put(roster, user_id=request[PRINCIPAL].user_id, with_bom=wanted.bom)
    return json_reply(ExportReply.of(link), status=201)


async def show_export(request: web.Request) -> web.Response:
    """The CSV file of an export, for the user who made it, until it expires."""
    export_id, exports = path_id(request), request.app[SERVICES].exports
    content = None if exports is None else await exports.get(export_id, request[PRINCIPAL].user_id)
    if content is None:
        raise ApiError(problems.NOT_FOUND, "There is no such export, or no more.")
    await record(request, "roster.download", f"export:{export_id}")
    return file_reply(content, CSV, "roster.csv")


ROUTES = (
    Route(
        "POST",
        "/api/sections/{id}/roster-exports",
        export_roster,
        "Staff",
        Access.STAFF,
        {201: Answer("Where the file is.", ExportReply)},
        problems=(problems.NOT_SET_UP,),
        query=QUERY,
    ),
    Route(
        "GET",
        "/api/roster-exports/{id}",
        show_export,
        "Staff",
        Access.STAFF,
        {200: Answer("The file.", media_type="text/csv")},
    ),
)
