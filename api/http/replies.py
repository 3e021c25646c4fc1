"""Makes replies: bodies encoded by msgspec, headers built once."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from http import HTTPStatus

import msgspec
from aiohttp import web
from aiohttp.helpers import rfc822_formatted_time
from multidict import CIMultiDict

SECURITY_HEADERS = {
    "Server": "seatline",  # aiohttp would name itself and Python with their versions
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
}
API_HEADERS = {**SECURITY_HEADERS, "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'"}

EXPOSED_HEADERS = ("ETag", "Idempotent-Replayed", "Location", "Retry-After", "X-Request-Id")
"""What pages of an allowed origin may read beside the headers that any page may read."""

_JSON_HEADERS = CIMultiDict({"Content-Type": "application/json", "Cache-Control": "no-store", **API_HEADERS})
_CATALOGUE_HEADERS = CIMultiDict({"Content-Type": "application/json", "Cache-Control": "no-cache", **API_HEADERS})
_PROBLEM_HEADERS = CIMultiDict({"Content-Type": "application/problem+json", "Cache-Control": "no-store", **API_HEADERS})
_EMPTY_HEADERS = CIMultiDict({"Cache-Control": "no-store", **API_HEADERS})

_encode = msgspec.json.Encoder().encode


def encode(value: object) -> bytes:
    """``value`` as JSON."""
    return _encode(value)


def json_reply(value: object, *, status: int = 200, headers: Mapping[str, str] | None = None) -> web.Response:
    """A reply that must not be stored, since it is about one user, or true for this moment only."""
    return _reply(_encode(value), status, _JSON_HEADERS, headers)


def problem_reply(value: object, *, status: int, headers: Mapping[str, str] | None = None) -> web.Response:
    """A problem document (RFC 9457)."""
    return _reply(_encode(value), status, _PROBLEM_HEADERS, headers)


def empty_reply() -> web.Response:
    """204: done, without a body."""
    return web.Response(status=204, headers=_EMPTY_HEADERS.copy())


def tagged_reply(request: web.Request, body: bytes) -> web.Response:
    """A reply that may be stored and must be revalidated; 304 if the client has it already."""
    tag = tag_of(body)
    known = request.if_none_match or ()
    if any(one.value in {tag.strip('"'), "*"} for one in known):
        return _reply(None, 304, _CATALOGUE_HEADERS, {"ETag": tag})
    return _reply(body, 200, _CATALOGUE_HEADERS, {"ETag": tag})


def tag_of(body: bytes) -> str:
    """The entity tag of a body, in quotes."""
    return f'"{hashlib.blake2b(body, digest_size=12).hexdigest()}"'


def file_reply(body: bytes, media_type: str, name: str) -> web.Response:
    """A file to be saved under ``name``. Caches must not store it."""
    headers = {**API_HEADERS, "Content-Type": media_type, "Content-Disposition": f'attachment; filename="{name}"'}
    return web.Response(body=body, headers={**headers, "Cache-Control": "no-store"})


def _reply(body: bytes | None, status: int, base: CIMultiDict[str], more: Mapping[str, str] | None) -> web.Response:
    headers = base.copy()
    if more is not None:
        headers.update(more)
    return web.Response(body=body, status=status, headers=headers)


class WireReplies:
    """Makes whole answers as bytes, for express handlers (`api/http/express.py`), which do without aiohttp's response.

    Args:
        headers: what every answer has beside its own.
    """

    def __init__(self, headers: Mapping[str, str]) -> None:
        self._headers = headers
        self._beginnings: dict[tuple[int, int], bytes] = {}

    def json(self, value: object, status: int, request_id: str, headers: Mapping[str, str]) -> bytes:
        """As ``json_reply``; as ``problem_reply`` from status 400 on."""
        lines = "".join([f"{name}: {text}\r\n" for name, text in headers.items()])
        return self._whole(
            status, _JSON_HEADERS if status < 400 else _PROBLEM_HEADERS, request_id, lines, _encode(value)
        )

    def tagged(self, body: bytes | None, tag: str, request_id: str) -> bytes:
        """As ``tagged_reply``: 304 if ``body`` is None."""
        return self._whole(304 if body is None else 200, _CATALOGUE_HEADERS, request_id, f"ETag: {tag}\r\n", body)

    def _whole(self, status: int, base: CIMultiDict[str], request_id: str, lines: str, body: bytes | None) -> bytes:
        length = "" if body is None else f"Content-Length: {len(body)}\r\n"
        more = f"{lines}X-Request-Id: {request_id}\r\nDate: {rfc822_formatted_time()}\r\n{length}\r\n"
        return b"".join((self._beginning(status, base), more.encode("ascii"), body or b""))

    def _beginning(self, status: int, base: CIMultiDict[str]) -> bytes:
        key = status, id(base)
        beginning = self._beginnings.get(key)
        if beginning is None:
            all_headers = {**base, **self._headers}
            lines = "".join(f"{name}: {value}\r\n" for name, value in all_headers.items())
            beginning = f"HTTP/1.1 {status} {HTTPStatus(status).phrase}\r\n{lines}".encode("ascii")
            self._beginnings[key] = beginning
        return beginning
