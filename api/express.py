"""The express lane: enrolments as nearly every client sends them, without a task, a request and a response for each.

aiohttp's parser has read the request; what is left is a few look-ups, a command to the gateway, and bytes to write when
its outcome is there. All rules are those of the handler (`api/enrollments.py`), by the same functions, and whatever is
not plain sailing (no token, a body that is no JSON, a limit reached, another origin) is left to the handler: only it
says no before the gateway does. The contract tests run over both ways.
"""

from __future__ import annotations

import time
from collections.abc import Callable

import msgspec
from aiohttp import hdrs, web
from aiohttp.http_parser import RawRequestMessage

from allocator.outcomes import Outcome
from api.answered import RequestIds, note_answer
from api.bodies import read_request_key
from api.enrollments import ENROLL, enroll_command, enrolled
from api.errors import ApiError, headers_of, problem_of
from api.outcomes import count_outcome
from api.replies import WireReplies
from api.schemas.enrollments import EnrolledReply
from api.schemas.problem import ProblemReply
from api.state import ACCESS_TOKENS, ENROLLMENT_LIMIT, METRICS, REQUEST_IDS, SERVICES
from api.tokens import InvalidTokenError

Answer = Callable[[int, bytes], None]
"""Writes an answer: its status and all its bytes."""

ENROLLMENTS = "/api/enrollments"
JSON = "application/json"


class Express:
    """Takes what it can; one for each application.

    Args:
        app: whose rules and figures are to be kept.
        headers: what every answer has beside its own.
    """

    def __init__(self, app: web.Application, headers: dict[str, str]) -> None:
        services = app[SERVICES]
        self._gateway = services.gateway
        self._slow_s = services.config.slow_request_s
        self._has_origins = bool(services.config.cors_origins)
        self._tokens = app[ACCESS_TOKENS]
        self._limit = app[ENROLLMENT_LIMIT]
        self._traffic = app[METRICS].traffic
        self._request_ids: RequestIds = app[REQUEST_IDS]
        self._replies = WireReplies(headers)

    def take(self, message: RawRequestMessage, body: bytes, answer: Answer) -> bool:
        """Take on an enrolment that is all here: ``answer`` is called, once. If it says False, nothing happened."""
        headers = message.headers
        if (
            message.path != ENROLLMENTS
            or message.should_close
            or headers.get(hdrs.CONTENT_TYPE) != JSON
            or hdrs.CONTENT_ENCODING in headers
            or (self._has_origins and hdrs.ORIGIN in headers)
        ):
            return False
        try:
            student_id = self._tokens.principal(headers.get(hdrs.AUTHORIZATION)).student_id
            key = read_request_key(headers)
            wanted = ENROLL.decode(body)
        except (InvalidTokenError, ApiError, msgspec.DecodeError, UnicodeDecodeError):
            return False
        if student_id is None or self._limit.hit(student_id) is not None:
            return False
        started_at = time.perf_counter()
        request_id = self._request_ids.of(headers)
        self._gateway.send(
            enroll_command(wanted, student_id, key),
            lambda outcome: self._tell(outcome, answer, started_at, request_id),
        )
        return True

    def _tell(self, outcome: Outcome, answer: Answer, started_at: float, request_id: str) -> None:
        count_outcome(self._traffic, outcome)
        reply: EnrolledReply | ProblemReply
        try:
            reply, headers = enrolled(outcome)
            status = 201
        except ApiError as error:
            reply, headers = problem_of(error, request_id), headers_of(error)
            status = reply.status
        answer(status, self._replies.json(reply, status, {**headers, "X-Request-Id": request_id}))
        seconds = time.perf_counter() - started_at
        note_answer(self._traffic, hdrs.METH_POST, ENROLLMENTS, status, seconds, request_id, self._slow_s)
