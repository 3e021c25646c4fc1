"""Every kind of problem that the API answers with, by its stable code."""

from __future__ import annotations

from typing import NamedTuple


class Kind(NamedTuple):
    """A kind of problem. Clients branch on ``code``; ``title`` is for people."""

    code: str
    status: int
    title: str
    retry_after_s: int | None = None


BAD_REQUEST = Kind("bad_request", 400, "The request cannot be read.")
MALFORMED_BODY = Kind("malformed_body", 400, "The body is not well-formed JSON.")
BAD_IDEMPOTENCY_KEY = Kind("bad_idempotency_key", 400, "The Idempotency-Key cannot be used.")
UNAUTHENTICATED = Kind("unauthenticated", 401, "A valid access token is needed.")
BAD_CREDENTIALS = Kind("bad_credentials", 401, "The email or the password is wrong.")
BAD_REFRESH_TOKEN = Kind("bad_refresh_token", 401, "The refresh token is not valid. Log in again.")
FORBIDDEN = Kind("forbidden", 403, "Your role does not allow this.")
NOT_FOUND = Kind("not_found", 404, "There is no such thing.")
METHOD_NOT_ALLOWED = Kind("method_not_allowed", 405, "This method is not allowed here.")
BODY_TIMEOUT = Kind("body_timeout", 408, "The body took too long to arrive.")
REFUSED = Kind("refused", 409, "The request was refused.")
BODY_TOO_LARGE = Kind("body_too_large", 413, "The body is too large.")
UNSUPPORTED_MEDIA_TYPE = Kind("unsupported_media_type", 415, "The body must be plain application/json.")
INVALID = Kind("invalid", 422, "The request is well-formed but not valid.")
KEY_REUSED = Kind("key_reused", 422, "This Idempotency-Key was used for another request.")
RATE_LIMITED = Kind("rate_limited", 429, "Too many requests.")
INTERNAL = Kind("internal_error", 500, "Something went wrong on our side.")
NOT_SET_UP = Kind("not_set_up", 501, "This is not set up here.")
OVERLOADED = Kind("overloaded", 503, "Too much is going on; nothing was changed.", retry_after_s=1)
UNAVAILABLE = Kind("unavailable", 503, "A part of the system is away; nothing was changed.", retry_after_s=2)
OUTCOME_UNKNOWN = Kind(
    "outcome_unknown",
    503,
    "The request may or may not have had its effect. Send it again with the same Idempotency-Key.",
    retry_after_s=1,
)
