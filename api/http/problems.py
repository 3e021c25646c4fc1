"""The kinds of problems that the API answers with, each with its stable code."""

from __future__ import annotations

from typing import NamedTuple


class ProblemKind(NamedTuple):
    """A kind of problem. Clients branch on ``code``; ``title`` is for people; ``retry_after_s`` is in seconds."""

    code: str
    status: int
    title: str
    retry_after_s: int | None = None


BAD_REQUEST = ProblemKind("bad_request", 400, "The request cannot be read.")
MALFORMED_BODY = ProblemKind("malformed_body", 400, "The body is not well-formed JSON.")
BAD_IDEMPOTENCY_KEY = ProblemKind("bad_idempotency_key", 400, "The Idempotency-Key cannot be used.")
UNAUTHENTICATED = ProblemKind("unauthenticated", 401, "A valid access token is needed.")
BAD_CREDENTIALS = ProblemKind("bad_credentials", 401, "The email or the password is wrong.")
BAD_REFRESH_TOKEN = ProblemKind("bad_refresh_token", 401, "The refresh token is not valid. Log in again.")
FORBIDDEN = ProblemKind("forbidden", 403, "Your role does not allow this.")
NOT_FOUND = ProblemKind("not_found", 404, "There is no such thing.")
METHOD_NOT_ALLOWED = ProblemKind("method_not_allowed", 405, "This method is not allowed here.")
BODY_TIMEOUT = ProblemKind("body_timeout", 408, "The body took too long to arrive.")
REFUSED = ProblemKind("refused", 409, "The request was refused.")
BODY_TOO_LARGE = ProblemKind("body_too_large", 413, "The body is too large.")
UNSUPPORTED_MEDIA_TYPE = ProblemKind("unsupported_media_type", 415, "The body must be plain application/json.")
EXPECTATION_FAILED = ProblemKind("expectation_failed", 417, "Only 100-continue can be expected.")
INVALID = ProblemKind("invalid", 422, "The request is well-formed but not valid.")
KEY_REUSED = ProblemKind("key_reused", 422, "This Idempotency-Key was used for another request.")
CLIENT_LEFT = ProblemKind("client_left", 499, "The client left before its request was here.")
"""Nobody gets it: it is the status by which metrics count them, as nginx does."""
RATE_LIMITED = ProblemKind("rate_limited", 429, "Too many requests.")
INTERNAL = ProblemKind("internal_error", 500, "Something went wrong on our side.")
NOT_SET_UP = ProblemKind("not_set_up", 501, "This is not set up here.")
OVERLOADED = ProblemKind("overloaded", 503, "Too much is going on; nothing was changed.", retry_after_s=1)
UNAVAILABLE = ProblemKind("unavailable", 503, "A part of the system is away; nothing was changed.", retry_after_s=2)
OUTCOME_UNKNOWN = ProblemKind(
    "outcome_unknown",
    503,
    "The request may or may not have had its effect. Send it again with the same Idempotency-Key.",
    retry_after_s=1,
)
