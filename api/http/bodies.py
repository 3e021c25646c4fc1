"""Reads what a request carries: its JSON body, its query string, the id in its path, its Idempotency-Key."""

from __future__ import annotations

import asyncio
import re
import secrets
from collections.abc import Callable
from typing import Any, Generic, NamedTuple, TypeVar

import msgspec
import orjson
from aiohttp import web
from multidict import CIMultiDictProxy, istr

from allocator.model.typed_text import tidy
from api.http import problems
from api.http.errors import ApiError

T = TypeVar("T", bound=msgspec.Struct)

BODY_TIMEOUT_S = 10.0
BODY_BYTES_MAX = 64 * 1024
ID_MAX = 2**63 - 1
IDEMPOTENCY_KEY = istr("Idempotency-Key")
"""An ``istr`` is lower-cased once; a plain string would be at each request."""

_fit_for_a_key = re.compile(r"[!#-&(-~]{1,128}").fullmatch
"""Visible ASCII without quotes of either kind, which would have to be escaped somewhere."""


class JsonBody(Generic[T]):
    """A JSON body of one type. Handlers read by it and routes document it, so the two cannot differ.

    Args:
        schema: the type.
        keywords: JSON Schema for what the type cannot say and the handler checks.
    """

    def __init__(self, schema: type[T], **keywords: Any) -> None:
        self.schema = schema
        self.keywords = keywords
        self.decode: Callable[[bytes], T] = msgspec.json.Decoder(schema).decode

    async def read(self, request: web.Request) -> T:
        """The body of ``request``.

        Raises:
            ApiError: 400, 408, 415 or 422, with what is wrong and where.
        """
        _require_plain_json(request)
        body = await _read_all(request)
        try:
            return self.decode(body)
        except msgspec.ValidationError as error:
            # msgspec stops at the first thing that is not as the type says, which may come before a broken end.
            _require_well_formed(body)
            raise ApiError(problems.INVALID, str(error)) from None
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise ApiError(problems.MALFORMED_BODY, _safe_detail(error)) from None


class QueryString(Generic[T]):
    """A query string of one type. Unknown parameters are ignored, as everywhere on the web, and so are empty ones."""

    def __init__(self, schema: type[T]) -> None:
        self.schema = schema

    def read(self, request: web.Request) -> T:
        """The query string of ``request``. If a parameter is repeated, the first that is not empty counts.

        Raises:
            ApiError: 422, with what is wrong and where.
        """
        given: dict[str, str] = {}
        for name, value in request.query.items():
            text = tidy(value)
            if text:
                given.setdefault(name, text)
        try:
            return msgspec.convert(given, self.schema, strict=False)
        except msgspec.ValidationError as error:
            raise ApiError(problems.INVALID, str(error)) from None


class RequestKey(NamedTuple):
    """The key by which a repeated request is recognised.

    ``is_clients`` says that the client chose it, and so may repeat the request.
    """

    value: str
    is_clients: bool


def read_request_key(headers: CIMultiDictProxy[str]) -> RequestKey:
    """The Idempotency-Key of a request; if it has none, a key that was never used.

    Raises:
        ApiError: 400, if the request has one that cannot be used.
    """
    given = headers.getall(IDEMPOTENCY_KEY, None)
    if given is None:
        return RequestKey(secrets.token_hex(16), is_clients=False)
    if len(given) != 1 or not _fit_for_a_key(given[0]):
        detail = "Send it once, with 1 to 128 visible ASCII characters and no quotes."
        raise ApiError(problems.BAD_IDEMPOTENCY_KEY, detail)
    return RequestKey(given[0], is_clients=True)


def path_id(request: web.Request) -> int:
    """The ``{id}`` of the path.

    Raises:
        ApiError: 404, if no row can have this id.
    """
    number = int(request.match_info["id"])
    if not 1 <= number <= ID_MAX:
        raise ApiError(problems.NOT_FOUND)
    return number


def _require_plain_json(request: web.Request) -> None:
    headers = request.headers
    if "Content-Encoding" in headers and headers["Content-Encoding"].lower() != "identity":
        raise ApiError(problems.UNSUPPORTED_MEDIA_TYPE, "Compressed bodies are not taken.")
    if headers.get("Content-Type") == "application/json":
        return
    if request.content_type != "application/json" or (request.charset or "utf-8").lower() not in {"utf-8", "utf8"}:
        raise ApiError(problems.UNSUPPORTED_MEDIA_TYPE)


async def _read_all(request: web.Request) -> bytes:
    limit = request.client_max_size
    if request.content_length is not None and request.content_length > limit:
        raise ApiError(problems.BODY_TOO_LARGE, f"At most {limit} bytes are taken.")
    if request.content.is_eof():
        # Nearly always: it came with its header. A timer would cost more than the rest of the read.
        body = request.content.read_nowait()
        if len(body) > limit:
            raise ApiError(problems.BODY_TOO_LARGE, f"At most {limit} bytes are taken.")
        return body
    try:
        async with asyncio.timeout(BODY_TIMEOUT_S):
            return await request.read()
    except TimeoutError:
        raise ApiError(problems.BODY_TIMEOUT) from None
    except ConnectionResetError:
        raise ApiError(problems.CLIENT_LEFT) from None


def _require_well_formed(body: bytes) -> None:
    try:
        orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise ApiError(problems.MALFORMED_BODY, str(error)) from None


def _safe_detail(error: Exception) -> str:
    return "The body is not UTF-8." if isinstance(error, UnicodeDecodeError) else str(error)
