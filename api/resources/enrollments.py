"""Enrolments: a student takes, drops and looks at seats and waitlist places."""

from __future__ import annotations

from typing import cast

import msgspec
from aiohttp import hdrs, web
from multidict import CIMultiDictProxy

from allocator.model.commands import Drop, Enroll
from allocator.model.delivery import Envelope, Reply
from allocator.model.read_models import EnrollmentView
from api.http import problems
from api.http.audit import record
from api.http.bodies import JsonBody, QueryString, RequestKey, path_id, read_request_key
from api.http.deadline import Deadline
from api.http.errors import ApiError, headers_of, problem_of, rate_limited
from api.http.express import ExpressClient, ExpressHandler, PendingRequest
from api.http.outcomes import count_reply, replay_header, require_done
from api.http.read_through import read_through
from api.http.replies import WireReplies, encode, json_reply
from api.http.routing import Access, Answer, Hot, Route
from api.limits import ENROLLMENT_LIMIT, FLOODERS
from api.monitoring.metrics import METRICS
from api.resources.semesters import find_semester
from api.schemas.catalogue import SemesterQuery
from api.schemas.enrollments import (
    DroppedReply,
    EnrolledReply,
    EnrollmentList,
    EnrollmentReply,
    EnrollRequest,
)
from api.schemas.problem import ProblemReply
from api.services import SERVICES
from api.signin.principals import student_id_of
from api.signin.tokens import ACCESS_TOKENS, InvalidTokenError

PATH = "/api/enrollments"
MY_TTL_S = 60.0

ENROLL = JsonBody(EnrollRequest)
SEMESTER = QueryString(SemesterQuery)

_decode_list = msgspec.json.Decoder(list[EnrollmentReply]).decode


async def enroll(request: web.Request) -> web.Response:
    """Take a seat in a section, or a place on its waitlist.

    Repeat a request whose answer was lost with the same Idempotency-Key: it has one effect and the same answer.
    A refusal (409) gives every reason at once, each with a stable code.
    """
    student_id = student_id_of(request)
    limit_writes(request, student_id)
    key = read_request_key(request.headers)
    wanted = await ENROLL.read(request)
    reply = await request.app[SERVICES].gateway.submit(enroll_envelope(wanted, student_id, key))
    count_reply(request.app[METRICS].traffic, reply)
    body, headers = enrolled(reply)
    return json_reply(body, status=201, headers=headers)


class ExpressEnroll(ExpressHandler):
    """``enroll`` on the express lane."""

    def __init__(self, app: web.Application, method: str, path: str, replies: WireReplies) -> None:
        super().__init__(app, method, path, replies)
        self._gateway = app[SERVICES].gateway
        self._tokens = app[ACCESS_TOKENS]
        self._limit = app[ENROLLMENT_LIMIT]

    def take(self, headers: CIMultiDictProxy[str], body: bytes, path_id: int, client: ExpressClient) -> bool:
        """Take the request if its token, key and body are valid and its student is within the limit."""
        if headers.get(hdrs.CONTENT_TYPE) != "application/json" or hdrs.CONTENT_ENCODING in headers:
            return False
        try:
            student_id = self._tokens.principal(headers.get(hdrs.AUTHORIZATION)).student_id
            key = read_request_key(headers)
            wanted = ENROLL.decode(body)
        except (InvalidTokenError, ApiError, msgspec.DecodeError, UnicodeDecodeError):
            return False
        if student_id is None or self._limit.hit(student_id) is not None:
            return False
        pending = PendingRequest(self, headers)
        envelope = enroll_envelope(wanted, student_id, key)
        self._gateway.send(envelope, lambda reply: self._answer(reply, client, pending))
        return True

    def _answer(self, reply: Reply, client: ExpressClient, pending: PendingRequest) -> None:
        count_reply(self.traffic, reply)
        body: EnrolledReply | ProblemReply
        try:
            body, headers = enrolled(reply)
            status = 201
        except ApiError as error:
            body, headers = problem_of(error, pending.request_id), headers_of(error)
            status = body.status
        client.answer_express(status, self.replies.json(body, status, pending.request_id, headers))
        pending.answered(status)


async def drop(request: web.Request) -> web.Response:
    """Give up a seat or a place. To drop it again gives the same answer."""
    deadline = Deadline(request)
    student_id = student_id_of(request)
    limit_writes(request, student_id)
    key = read_request_key(request.headers)
    async with deadline.kept():
        view = await own_enrollment(request, student_id)
    reply = await request.app[SERVICES].gateway.submit(_drop_envelope(view, key), deadline.left_s)
    count_reply(request.app[METRICS].traffic, reply)
    require_done(reply, not_found="There is no such enrolment.")
    return json_reply(DroppedReply(view.id), headers=replay_header(reply))


async def list_mine(request: web.Request) -> web.Response:
    """The seats and places that the student holds, in one semester or in all."""
    student_id = student_id_of(request)
    wanted = SEMESTER.read(request).semester
    semester_id = None if wanted is None else (await find_semester(request, wanted)).id
    reader = request.app[SERVICES].enrollments

    async def load() -> bytes:
        return encode([EnrollmentReply.of(one) for one in await reader.held_by(student_id)])

    key = f"student:enrollments:{student_id}"
    held = await read_through(request, "student:enrollments", key, MY_TTL_S, load, _decode_list)
    items = [one for one in held if semester_id in (None, one.semester_id)]
    # A place in a list changes with what others do, so it is never read from a cache.
    positions = await reader.positions([one.id for one in items if one.status == "waitlisted"])
    items = [
        msgspec.structs.replace(one, waitlist_position=positions[one.id]) if one.id in positions else one
        for one in items
    ]
    return json_reply(EnrollmentList(items))


async def show_status(request: web.Request) -> web.Response:
    """One of the student's enrolments as it stands now.

    With its position on the waitlist, and the reasons that kept the student from a free seat.
    """
    view = await own_enrollment(request, student_id_of(request))
    positions = await request.app[SERVICES].enrollments.positions([view.id] if view.status == "waitlisted" else [])
    return json_reply(EnrollmentReply.of(view, positions.get(view.id)))


async def own_enrollment(request: web.Request, student_id: int) -> EnrollmentView:
    """The enrolment of the path, if it is the student's own.

    Raises:
        ApiError: 404, if there is none or it is another student's; then the attempt is on record. 429, if the student
            writes or guesses too often.
    """
    enrollment_id = path_id(request)
    view = await request.app[SERVICES].enrollments.find(enrollment_id)
    if view is not None and view.student_id == student_id:
        return view
    limit_writes(request, student_id)  # guessing is limited as writing is, whether or not there is such an enrolment
    if view is not None:
        await record(request, f"foreign_enrollment.{request.method.lower()}", f"enrollment:{enrollment_id}")
    raise ApiError(problems.NOT_FOUND, "There is no such enrolment.")


def limit_writes(request: web.Request, student_id: int) -> None:
    """Count a write of a student, so that a script slows only itself.

    Raises:
        ApiError: 429, if the student writes too often.
    """
    retry_after_s = request.app[ENROLLMENT_LIMIT].hit(student_id)
    if retry_after_s is not None:
        request.app[FLOODERS].add(request.headers[hdrs.AUTHORIZATION], retry_after_s)
        raise rate_limited(request, "enrollments", retry_after_s)


def enroll_envelope(wanted: EnrollRequest, student_id: int, key: RequestKey) -> Envelope:
    """What the student asks of the section. A key of the client's may have been sent before."""
    command = Enroll(wanted.section_id, student_id, wanted.join_waitlist)
    return Envelope(command, key.value, key.is_clients, key.is_clients)


def enrolled(reply: Reply) -> tuple[EnrolledReply, dict[str, str]]:
    """The reply to an enrolment and its headers.

    Raises:
        ApiError: if it came to nothing.
    """
    outcome = require_done(reply, not_found="There is no such section.")
    enrollment_id = cast(int, outcome.enrollment_id)
    headers = {"Location": f"{PATH}/{enrollment_id}/status", **replay_header(reply)}
    return EnrolledReply.of(outcome, enrollment_id), headers


def _drop_envelope(view: EnrollmentView, key: RequestKey) -> Envelope:
    return Envelope(Drop(view.section_id, view.student_id, view.id), key.value, key.is_clients, key.is_clients)


_TRANSIENT = (problems.RATE_LIMITED, problems.OUTCOME_UNKNOWN)

ENROLL_ROUTE = Route(
    "POST",
    PATH,
    enroll,
    "Enrolments",
    Access.STUDENT,
    {201: Answer("A seat or a place.", EnrolledReply, headers=("Location", "Idempotent-Replayed"))},
    problems=(
        problems.BAD_IDEMPOTENCY_KEY,
        problems.NOT_FOUND,
        problems.REFUSED,
        problems.KEY_REUSED,
        *_TRANSIENT,
    ),
    body=ENROLL,
    request_headers=("Idempotency-Key",),
    hot=Hot(ExpressEnroll, needs_admission=True),
)

ROUTES = (
    ENROLL_ROUTE,
    Route(
        "DELETE",
        f"{PATH}/{{id}}",
        drop,
        "Enrolments",
        Access.STUDENT,
        {200: Answer("It has ended.", DroppedReply, headers=("Idempotent-Replayed",))},
        problems=(problems.BAD_IDEMPOTENCY_KEY, problems.KEY_REUSED, *_TRANSIENT),
        request_headers=("Idempotency-Key",),
    ),
    Route(
        "GET",
        f"{PATH}/my",
        list_mine,
        "Enrolments",
        Access.STUDENT,
        {200: Answer("The list.", EnrollmentList)},
        query=SEMESTER,
    ),
    Route(
        "GET",
        f"{PATH}/{{id}}/status",
        show_status,
        "Enrolments",
        Access.STUDENT,
        {200: Answer("The enrolment.", EnrollmentReply)},
        problems=(problems.RATE_LIMITED,),
    ),
)
