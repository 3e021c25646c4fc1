"""The catalogue of courses. Everybody may read it."""

from __future__ import annotations

import base64
import binascii
import hashlib

import msgspec
from aiohttp import web

from api.http import problems
from api.http.bodies import QueryString, path_id
from api.http.errors import ApiError
from api.http.read_through import checked, read_through
from api.http.replies import encode, tagged_reply
from api.http.routing import Access, Answer, Route
from api.resources.semesters import find_semester
from api.schemas.catalogue import CourseItem, CourseList, CourseQuery, CourseReply, SectionList, SemesterQuery
from api.services import SERVICES

LIST_TTL_S = 300.0
CODE_BYTES_MAX = 200

COURSES = QueryString(CourseQuery)
SEMESTER = QueryString(SemesterQuery)

_check = checked(msgspec.json.Decoder(CourseList).decode)


async def list_courses(request: web.Request) -> web.Response:
    """Courses in the order of their codes, CS 2 before CS 12, a page at a time.

    With a semester, only those that have a section in it. Counts of seats are with the sections.
    """
    query = COURSES.read(request)
    after_code = None if query.cursor is None else read_cursor(query.cursor)
    semester_id: int | None = None
    if query.semester is not None:
        semester_id = (await find_semester(request, query.semester)).id
    catalogue = request.app[SERVICES].catalogue

    async def load() -> bytes:
        found = await catalogue.courses(
            semester_id=semester_id,
            department=query.department,
            text=query.q,
            after_code=after_code,
            limit=query.limit + 1,  # one more than is shown tells whether there is another page
        )
        if not found and query.department is not None and not await catalogue.has_department(query.department):
            raise ApiError(problems.INVALID, "There is no such department.")
        page = found[: query.limit]
        next_cursor = make_cursor(page[-1].code) if len(found) > query.limit else None
        return encode(CourseList([CourseItem.of(one) for one in page], next_cursor))

    digest = hashlib.blake2b(encode((query.department, query.q, query.limit, after_code)), digest_size=12).hexdigest()
    key = f"courses:semester:{semester_id or 'all'}:{digest}"
    return tagged_reply(request, await read_through(request, "courses:semester", key, LIST_TTL_S, load, _check))


async def show_course(request: web.Request) -> web.Response:
    """One course, with its requisites."""
    course = await request.app[SERVICES].catalogue.course(path_id(request))
    if course is None:
        raise ApiError(problems.NOT_FOUND, "There is no such course.")
    return tagged_reply(request, encode(CourseReply.of(course)))


async def list_sections(request: web.Request) -> web.Response:
    """The sections of a course, with their seats at this moment."""
    course_id = path_id(request)
    wanted = SEMESTER.read(request).semester
    semester_id = None if wanted is None else (await find_semester(request, wanted)).id
    sections = await request.app[SERVICES].catalogue.sections_of_course(course_id, semester_id)
    if sections is None:
        raise ApiError(problems.NOT_FOUND, "There is no such course.")
    return tagged_reply(request, encode(SectionList.of(sections)))


def make_cursor(code: str) -> str:
    """The cursor of the page that begins after the course of that code."""
    return base64.urlsafe_b64encode(code.encode()).decode().rstrip("=")


def read_cursor(cursor: str) -> str:
    """The course code in a cursor.

    Raises:
        ApiError: 422, if no page gave this cursor.
    """
    try:
        raw = base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True)
        code = raw.decode()
    except (binascii.Error, ValueError):
        raise ApiError(problems.INVALID, "The cursor is not one that a page gave.") from None
    if not 1 <= len(raw) <= CODE_BYTES_MAX or "\x00" in code:
        raise ApiError(problems.INVALID, "The cursor is not one that a page gave.")
    return code


_TAGGED = {304: Answer("Nothing has changed.")}

ROUTES = (
    Route(
        "GET",
        "/api/courses",
        list_courses,
        "Catalogue",
        Access.PUBLIC,
        {200: Answer("A page of courses.", CourseList, headers=("ETag",)), **_TAGGED},
        query=COURSES,
        request_headers=("If-None-Match",),
    ),
    Route(
        "GET",
        "/api/courses/{id}",
        show_course,
        "Catalogue",
        Access.PUBLIC,
        {200: Answer("The course.", CourseReply, headers=("ETag",)), **_TAGGED},
        request_headers=("If-None-Match",),
    ),
    Route(
        "GET",
        "/api/courses/{id}/sections",
        list_sections,
        "Catalogue",
        Access.PUBLIC,
        {200: Answer("Its sections.", SectionList, headers=("ETag",)), **_TAGGED},
        query=SEMESTER,
        request_headers=("If-None-Match",),
    ),
)
