"""A student's timetable."""

from __future__ import annotations

from aiohttp import web

from api.http.bodies import QueryString
from api.http.replies import json_reply
from api.http.routing import Access, Answer, Route
from api.resources.semesters import find_semester
from api.schemas.catalogue import SemesterQuery
from api.schemas.enrollments import TimetableReply, timetable_of
from api.services import SERVICES
from api.signin.principals import student_id_of

SEMESTER = QueryString(SemesterQuery)


async def show_schedule(request: web.Request) -> web.Response:
    """The weekly timetable of the sections in which the student holds a seat."""
    student_id = student_id_of(request)
    wanted = SEMESTER.read(request).semester
    semester_id = None if wanted is None else (await find_semester(request, wanted)).id
    sections = await request.app[SERVICES].enrollments.schedule(student_id, semester_id)
    return json_reply(timetable_of(sections))


ROUTES = (
    Route(
        "GET",
        "/api/students/me/schedule",
        show_schedule,
        "Enrolments",
        Access.STUDENT,
        {200: Answer("The week.", TimetableReply)},
        query=SEMESTER,
    ),
)
