"""The bytes of refusals: whole HTTP answers, each encoded once."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from http import HTTPStatus

from api.edge.framing import header_value
from api.http.problems import ProblemKind
from api.http.replies import API_HEADERS, EXPOSED_HEADERS, encode
from api.schemas.problem import ProblemReply

ORIGIN = b"\r\norigin: "


class RefusalAnswers:
    """Encodes refusals, and keeps what it has encoded.

    Args:
        headers: what every answer has beside its own.
        cors_origins: origins whose pages must be able to read the answer.
    """

    def __init__(self, headers: Mapping[str, str], cors_origins: Sequence[str]) -> None:
        self._headers = headers
        self._origins = frozenset(origin.encode() for origin in cors_origins)
        self._request_id = f"{os.urandom(6).hex()}-shed"
        self._made: dict[tuple[str, int, bytes | None], bytes] = {}

    def to(self, data: bytes, head: bytes, kind: ProblemKind, retry_after_s: int) -> bytes:
        """The refusal of a request.

        Args:
            data: the request, as far as it is here.
            head: its head in lower case.
            kind: why it is refused.
            retry_after_s: when its client may come again.
        """
        origin = header_value(data, head, ORIGIN) if self._origins else None
        if origin not in self._origins:
            origin = None
        key = kind.code, retry_after_s, origin
        made = self._made.get(key)
        if made is None:
            made = self._made[key] = self.make(kind, retry_after_s, origin)
        return made

    def make(
        self, kind: ProblemKind, retry_after_s: int, origin: bytes | None = None, *, closes: bool = False
    ) -> bytes:
        """Encode a refusal.

        Args:
            kind: why the request is refused.
            retry_after_s: when its client may come again.
            origin: the origin whose page may read the answer, if any.
            closes: whether the answer ends the connection.
        """
        body = encode(
            ProblemReply(
                type=f"urn:seatline:problem:{kind.code}",
                title=kind.title,
                status=kind.status,
                code=kind.code,
                detail=kind.title,
                request_id=self._request_id,
            )
        )
        headers = {
            "Content-Type": "application/problem+json",
            "Cache-Control": "no-store",
            **API_HEADERS,
            **self._headers,
            "Retry-After": str(retry_after_s),
            "X-Request-Id": self._request_id,
            "Content-Length": str(len(body)),
        }
        if origin is not None:
            headers["Access-Control-Allow-Origin"] = origin.decode()
            headers["Access-Control-Expose-Headers"] = ", ".join(EXPOSED_HEADERS)
        if closes:
            headers["Connection"] = "close"
        lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
        return f"HTTP/1.1 {kind.status} {HTTPStatus(kind.status).phrase}\r\n{lines}\r\n".encode() + body
