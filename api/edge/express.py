"""The express lane: what a rush is made of, without a task, a request and a response for each.

That is enrolments and looks at a section, as nearly every client sends them. aiohttp's parser has read the request;
what is left is a few look-ups, a command to the gateway or a glance at the board, and bytes to write when the answer is
there. All rules are those of the handlers (`api/resources/`), by the same functions, and what is
not plain sailing (no token, a body that is no JSON, a limit reached, another origin) is left to the handlers: only they
say no before the gateway does. The tests of the API run over both ways.
"""

from __future__ import annotations

import re
import time
from typing import Protocol

import msgspec
from aiohttp import HttpVersion11, hdrs, web
from aiohttp.http_parser import RawRequestMessage
from multidict import CIMultiDictProxy

from allocator.model.outcomes import Outcome
from allocator.model.read_models import SectionView
from api.http.bodies import BODY_BYTES_MAX, read_request_key
from api.http.errors import ApiError, headers_of, problem_of
from api.http.outcomes import count_outcome
from api.http.replies import WireReplies, encode, tag_of
from api.limits import ENROLLMENT_LIMIT
from api.monitoring.answered import REQUEST_IDS, note_answer
from api.monitoring.metrics import METRICS, Traffic
from api.monitoring.readiness import READINESS
from api.resources.enrollments import ENROLL, enroll_command, enrolled
from api.schemas.catalogue import SectionReply
from api.schemas.enrollments import EnrolledReply
from api.schemas.problem import ProblemReply
from api.services import SERVICES
from api.signin.tokens import ACCESS_TOKENS, InvalidTokenError

ENROLLMENTS = "/api/enrollments"
SECTION = "/api/sections/{id}"
JSON = "application/json"
SHOWN_MAX = 50_000

_section_path = re.compile(r"/api/sections/([1-9][0-9]{0,17})").fullmatch
_one_tag = re.compile(r'"[^",]*"').fullmatch


class Client(Protocol):
    """Who is told."""

    def answer_express(self, status: int, answer: bytes) -> None:
        """Write an answer."""

    def hand_back(self) -> None:
        """Let the handler do it after all."""


class _Shown:
    """A section as it was last shown."""

    __slots__ = ("body", "tag", "view")

    def __init__(self, view: SectionView) -> None:
        self.view = view
        self.body = encode(SectionReply.of(view))
        self.tag = tag_of(self.body)


class _Note:
    """What is kept of a request until it is answered."""

    __slots__ = ("_method", "_route", "_slow_s", "_started_at", "_traffic", "request_id")

    def __init__(self, traffic: Traffic, method: str, route: str, request_id: str, slow_s: float) -> None:
        self._traffic = traffic
        self._method = method
        self._route = route
        self._slow_s = slow_s
        self._started_at = time.perf_counter()
        self.request_id = request_id

    def answered(self, status: int) -> None:
        seconds = time.perf_counter() - self._started_at
        note_answer(self._traffic, self._method, self._route, status, seconds, self.request_id, self._slow_s)


class Express:
    """Takes what it can; one for each application.

    Args:
        app: whose rules and figures are to be kept.
        headers: what every answer has beside its own.
    """

    def __init__(self, app: web.Application, headers: dict[str, str]) -> None:
        services = app[SERVICES]
        self._readiness = app[READINESS]
        self._gateway = services.gateway
        self._board = services.seats
        self._slow_s = services.config.slow_request_s
        self._has_origins = bool(services.config.cors_origins)
        self._tokens = app[ACCESS_TOKENS]
        self._limit = app[ENROLLMENT_LIMIT]
        self._traffic = app[METRICS].traffic
        self._request_ids = app[REQUEST_IDS]
        self._replies = WireReplies(headers)
        self._shown: dict[int, _Shown] = {}

    @property
    def is_draining(self) -> bool:
        """Whether the process is about to end, so that connections are to end with their answers."""
        return self._readiness.is_draining

    def take(self, message: RawRequestMessage, body: bytes, client: Client) -> bool:
        """Take on a request that is here as a whole: the client is told, once. If it says False, nothing happened."""
        headers = message.headers
        if message.should_close or message.version != HttpVersion11 or len(body) > BODY_BYTES_MAX:
            return False
        if self._has_origins and hdrs.ORIGIN in headers:
            return False
        if message.method == hdrs.METH_POST and message.path == ENROLLMENTS:
            return self._enroll(headers, body, client)
        if message.method == hdrs.METH_GET and not body:
            section = _section_path(message.path)
            return section is not None and self._show(int(section[1]), headers, client)
        return False

    # Enrolments

    def _enroll(self, headers: CIMultiDictProxy[str], body: bytes, client: Client) -> bool:
        if headers.get(hdrs.CONTENT_TYPE) != JSON or hdrs.CONTENT_ENCODING in headers:
            return False
        try:
            student_id = self._tokens.principal(headers.get(hdrs.AUTHORIZATION)).student_id
            key = read_request_key(headers)
            wanted = ENROLL.decode(body)
        except (InvalidTokenError, ApiError, msgspec.DecodeError, UnicodeDecodeError):
            return False
        if student_id is None or self._limit.hit(student_id) is not None:
            return False
        note = self._note(hdrs.METH_POST, ENROLLMENTS, headers)
        command = enroll_command(wanted, student_id, key)
        self._gateway.send(command, lambda outcome: self._tell_outcome(outcome, client, note))
        return True

    def _tell_outcome(self, outcome: Outcome, client: Client, note: _Note) -> None:
        count_outcome(self._traffic, outcome)
        reply: EnrolledReply | ProblemReply
        try:
            reply, headers = enrolled(outcome)
            status = 201
        except ApiError as error:
            reply, headers = problem_of(error, note.request_id), headers_of(error)
            status = reply.status
        client.answer_express(status, self._replies.json(reply, status, note.request_id, headers))
        note.answered(status)

    # Sections

    def _show(self, section_id: int, headers: CIMultiDictProxy[str], client: Client) -> bool:
        known = headers.get(hdrs.IF_NONE_MATCH)
        if known is not None and not _one_tag(known):
            return False
        note = self._note(hdrs.METH_GET, SECTION, headers)

        def tell(view: SectionView | None) -> None:
            if view is None:
                client.hand_back()
                return
            shown = self._shown_as(view)
            status, body = (304, None) if known == shown.tag else (200, shown.body)
            client.answer_express(status, self._replies.tagged(body, shown.tag, note.request_id))
            note.answered(status)

        return self._board.look(section_id, tell)

    def _shown_as(self, view: SectionView) -> _Shown:
        shown = self._shown.get(view.id)
        if shown is None or shown.view is not view:
            if len(self._shown) >= SHOWN_MAX:
                self._shown.clear()
            shown = self._shown[view.id] = _Shown(view)
        return shown

    def _note(self, method: str, route: str, headers: CIMultiDictProxy[str]) -> _Note:
        return _Note(self._traffic, method, route, self._request_ids.of(headers), self._slow_s)
