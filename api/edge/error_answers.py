"""Our own answers to requests that come to no handler, since they are no HTTP or expect what nobody does.

aiohttp would answer these itself: as text that repeats what was sent, without the headers that every answer has, and
with its own version and Python's.
"""

from __future__ import annotations

from collections.abc import Coroutine, Mapping
from typing import Any

from aiohttp import HttpVersion10, HttpVersion11, web
from aiohttp.web_request import BaseRequest

from api.edge.aiohttp_seam import AiohttpConnection, answer_as_http_1_0
from api.http import problems
from api.http.errors import ApiError, problem_of
from api.http.replies import problem_reply
from api.monitoring.answered import REQUEST_ID_HEADER, RequestIds

KINDS = {417: problems.EXPECTATION_FAILED}


class ErrorAnswers:
    """Makes the answers.

    Args:
        request_ids: gives each request its id.
        headers: what every answer has beside its own.
    """

    def __init__(self, request_ids: RequestIds, headers: Mapping[str, str]) -> None:
        self._request_ids = request_ids
        self._headers = headers

    def to(self, headers: Mapping[str, str], status: int) -> web.Response:
        """The answer to a request.

        Args:
            headers: of the request.
            status: what aiohttp would answer.
        """
        kind = KINDS.get(status, problems.INTERNAL if status >= 500 else problems.BAD_REQUEST)
        request_id = self._request_ids.of(headers)
        problem = problem_of(ApiError(kind), request_id)
        return problem_reply(problem, status=kind.status, headers={**self._headers, REQUEST_ID_HEADER: request_id})


ERROR_ANSWERS = web.AppKey("ERROR_ANSWERS", ErrorAnswers)


class PoliteConnection(AiohttpConnection):
    """aiohttp's side of a connection, with our own answers to requests that come to no handler.

    Args:
        manager: the server that it belongs to.
        error_answers: of the application.
        options: those of aiohttp's protocol.
    """

    __slots__ = ("_error_answers",)

    def __init__(self, manager: web.Server, error_answers: ErrorAnswers, **options: Any) -> None:
        super().__init__(manager, **options)
        self._error_answers = error_answers

    def finish_response(
        self, request: BaseRequest, resp: web.StreamResponse, start_time: float | None
    ) -> Coroutine[Any, Any, tuple[web.StreamResponse, bool]]:
        """Called by aiohttp when an answer is there."""
        if isinstance(resp, web.HTTPException):
            resp = self._error_answers.to(request.headers, resp.status)  # it came past the middleware
        if request.version is not HttpVersion11 and request.version != HttpVersion10:
            answer_as_http_1_0(request)
        return super().finish_response(request, resp, start_time)

    def handle_error(
        self,
        request: BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> web.StreamResponse:
        """Called by aiohttp for what its parser refuses, and if a handler fails outside of the middleware."""
        super().handle_error(request, status, exc, message)  # writes to the log; raises if an answer was begun
        answer = self._error_answers.to(request.headers, status)
        answer.force_close()
        return answer
