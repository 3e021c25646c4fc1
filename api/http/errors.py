"""The error map: from everything that can go wrong to what the client is told."""

from __future__ import annotations

import math
import traceback
from collections.abc import Sequence

import structlog
from aiohttp import web
from msgspec import UNSET

from allocator.model.outcomes import Reason
from allocator.ports import StoreBusyError, StoreUnavailableError
from api.http import problems
from api.http.problems import ProblemKind
from api.http.replies import problem_reply
from api.monitoring.answered import REQUEST_ID
from api.monitoring.metrics import METRICS
from api.schemas.problem import ProblemReply, ReasonReply
from api.signin.passwords import PasswordsBusyError
from api.signin.tokens import InvalidTokenError

log = structlog.get_logger(__name__)

_BY_STATUS = {
    404: problems.NOT_FOUND,
    405: problems.METHOD_NOT_ALLOWED,
    413: problems.BODY_TOO_LARGE,
    415: problems.UNSUPPORTED_MEDIA_TYPE,
}


class ApiError(Exception):
    """Ends a request with a problem document of ``kind``."""

    def __init__(
        self,
        kind: ProblemKind,
        detail: str | None = None,
        *,
        reasons: Sequence[Reason] = (),
        headers: dict[str, str] | None = None,
    ) -> None:
        super().__init__(kind.code)
        self.kind = kind
        self.detail = detail or kind.title
        self.reasons = reasons
        self.headers = headers or {}


def rate_limited(request: web.Request, limit: str, retry_after_s: float) -> ApiError:
    """The error for a call beyond the limit of that name. It is counted."""
    request.app[METRICS].rate_limited.labels(limit).inc()
    return ApiError(problems.RATE_LIMITED, headers={"Retry-After": str(max(1, math.ceil(retry_after_s)))})


def reply_to(error: Exception, request: web.Request) -> web.Response:
    """The reply to a request that ended with ``error``."""
    return reply_with(_known(error, request) or _unexpected(error, request), request)


def reply_with(error: ApiError, request: web.Request) -> web.Response:
    """The problem document of ``error``."""
    problem = problem_of(error, request[REQUEST_ID])
    return problem_reply(problem, status=problem.status, headers=headers_of(error))


def problem_of(error: ApiError, request_id: str) -> ProblemReply:
    """The content of the problem document of ``error``."""
    kind = error.kind
    return ProblemReply(
        type=f"urn:seatline:problem:{kind.code}",
        title=kind.title,
        status=kind.status,
        code=kind.code,
        detail=error.detail,
        request_id=request_id,
        reasons=[ReasonReply.of(one) for one in error.reasons] or UNSET,
    )


def headers_of(error: ApiError) -> dict[str, str]:
    """The headers that the reply to ``error`` has beside the usual ones."""
    retry_after_s = error.kind.retry_after_s
    return error.headers if retry_after_s is None else {"Retry-After": str(retry_after_s), **error.headers}


def _known(error: Exception, request: web.Request) -> ApiError | None:
    match error:
        case ApiError():
            return error
        case InvalidTokenError():
            request.app[METRICS].auth_failures.labels(str(error)).inc()
            challenge = "Bearer" if str(error) == "missing" else 'Bearer error="invalid_token"'
            return ApiError(problems.UNAUTHENTICATED, headers={"WWW-Authenticate": challenge})
        case StoreUnavailableError():
            log.warning("dependency away", request_id=request[REQUEST_ID], error=type(error).__name__)
            return ApiError(problems.UNAVAILABLE)
        case StoreBusyError() | PasswordsBusyError():
            return ApiError(problems.OVERLOADED)
        case web.HTTPException() if error.status >= 400:
            return _of_aiohttp(error)
        case _:
            return None


def _of_aiohttp(error: web.HTTPException) -> ApiError:
    kind = _BY_STATUS.get(error.status, problems.BAD_REQUEST)
    allowed = error.headers.get("Allow")
    return ApiError(kind, headers={"Allow": allowed} if allowed else None)


def _unexpected(error: Exception, request: web.Request) -> ApiError:
    # The message of an exception may carry values of the request, so only its kind and place are logged.
    frames = [f"{frame.filename}:{frame.lineno} {frame.name}" for frame in traceback.extract_tb(error.__traceback__)]
    log.error("request failed", request_id=request[REQUEST_ID], error=type(error).__name__, frames=frames[-12:])
    return ApiError(problems.INTERNAL, "It was logged under the request id given here.")
