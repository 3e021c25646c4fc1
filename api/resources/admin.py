"""What administrators change of a section."""

from __future__ import annotations

from typing import assert_never

from aiohttp import web
from msgspec import UNSET

from allocator.model.commands import ChangeCapacity, CloseSection, OpenSection, StaffCommand
from allocator.model.delivery import Envelope
from api.http import problems
from api.http.audit import record
from api.http.bodies import JsonBody, path_id
from api.http.deadline import Deadline
from api.http.errors import ApiError
from api.http.outcomes import require_done
from api.http.replies import json_reply
from api.http.routing import Access, Answer, Route
from api.resources.sections import no_such_section
from api.schemas.catalogue import SectionReply
from api.schemas.staff import SectionChange
from api.services import SERVICES
from api.signin.principals import PRINCIPAL

CHANGE = JsonBody(SectionChange, minProperties=1)


async def change_section(request: web.Request) -> web.Response:
    """Change the capacity of a section, open it or close it.

    A capacity below the students already in evicts nobody; seats are given again once enough have left.
    Sending the same change twice is the same as sending it once.
    """
    section_id = path_id(request)
    wanted = await CHANGE.read(request)
    deadline = Deadline(request)
    services, user_id = request.app[SERVICES], request[PRINCIPAL].user_id
    for command in commands_for(wanted, section_id, user_id):
        async with deadline.kept():
            await record(request, action_of(command), f"section:{section_id}")
        reply = await services.gateway.submit(Envelope(command), deadline.left_s)
        require_done(reply, not_found="There is no such section.")
    async with deadline.kept():
        section = await services.catalogue.section(section_id)
    if section is None:
        raise no_such_section()
    return json_reply(SectionReply.of(section))


def action_of(command: StaffCommand) -> str:
    """The command's name in the audit log, which has what was tried; what came of it is in the section's history."""
    match command:
        case ChangeCapacity():
            return "section.change_capacity"
        case CloseSection():
            return "section.close"
        case OpenSection():
            return "section.open"
        case _:
            assert_never(command)


def commands_for(wanted: SectionChange, section_id: int, user_id: int) -> list[StaffCommand]:
    """The commands that make the change.

    A section closes before its capacity changes and opens after it, so that nobody gets a seat in between who would
    not get one in the section as it will be.

    Raises:
        ApiError: if nothing is to be changed.
    """
    commands: list[StaffCommand] = []
    if wanted.capacity is not UNSET:
        commands.append(ChangeCapacity(section_id, wanted.capacity, user_id))
    if wanted.is_open is True:
        commands.append(OpenSection(section_id, user_id))
    elif wanted.is_open is False:
        commands.insert(0, CloseSection(section_id, user_id))
    if not commands:
        raise ApiError(problems.INVALID, "Say what to change: capacity, is_open or both.")
    return commands


ROUTES = (
    Route(
        "PATCH",
        "/api/admin/sections/{id}",
        change_section,
        "Staff",
        Access.ADMIN,
        {200: Answer("The section as it is now.", SectionReply)},
        problems=(problems.OUTCOME_UNKNOWN,),
        body=CHANGE,
    ),
)
