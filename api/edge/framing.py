"""Finds where a request ends, for requests as nearly every client sends them. Of all others it says nothing.

The parser of aiohttp decides what a request is. This is only a shortcut past it, so it gives up at the first oddity:
whatever could be read in two ways must be read by the parser.
"""

from __future__ import annotations

import re
from typing import NamedTuple

HEAD_BYTES_MAX = 8192
LENGTH_DIGITS_MAX = 6
HEADERS_MAX = 128
"""Those that aiohttp's parser takes."""
_END = b"\r\n\r\n"
_LENGTH = b"\r\ncontent-length:"
_CONNECTION = b"\r\nconnection:"
_KEEP_ALIVE = b"\r\nconnection: keep-alive\r\n"
_names = re.compile(rb"\n([!#$%&'*+.^_`|~0-9a-z-]+):[\t -~\x80-\xff]*+\r(?=\n)").findall
"""The names of all well-formed header lines of a head (RFC 9110, 5.1 and 5.5)."""
_ONCE = (
    b"connection",
    b"content-location",
    b"content-range",
    b"content-type",
    b"etag",
    b"host",
    b"max-forwards",
    b"server",
    b"user-agent",
)
"""Headers of which aiohttp's parser takes only one; and Connection, of which each may say something else."""
_NEVER = frozenset({b"proxy-connection", b"sec-websocket-key1"})
"""Headers of which the parser makes more than the edge does: one may say close, the other is refused."""


class Frame(NamedTuple):
    """A head, in lower case and with the line break at its end, and how long the request is with its body."""

    head: bytes
    length: int


def read_frame(data: bytes) -> Frame | None:
    """The request that ``data`` begins with, perhaps without all of its body; None if its end is not beyond doubt."""
    end = data.find(_END, 0, HEAD_BYTES_MAX)
    if end < 0 or not data[:1].isalpha():
        return None
    head = data[: end + 2].lower()
    if b"\ntransfer-encoding" in head or b"\nupgrade" in head or b"\nexpect" in head or head.startswith(b"connect "):
        return None
    if _CONNECTION in head and _KEEP_ALIVE not in head:
        return None
    if head.count(b"\n") != head.count(b"\r\n"):
        return None
    body = _body_length(head)
    return None if body is None else Frame(head, end + 4 + body)


def is_plain(head: bytes) -> bool:
    """Whether aiohttp's parser certainly takes a head, and keeps the connection open after it.

    Only what is refused before it is parsed needs this: of everything else the parser judges itself.

    Args:
        head: that of a frame.
    """
    names = _names(head)
    distinct = set(names)
    return (
        len(names) == head.count(b"\n") - 1  # every line is well-formed
        and len(names) <= HEADERS_MAX
        and b"host" in distinct
        and _NEVER.isdisjoint(distinct)
        and (len(names) == len(distinct) or all(names.count(one) <= 1 for one in _ONCE))
    )


def _body_length(head: bytes) -> int | None:
    at = head.find(b"content-length")
    if at < 0:
        return 0
    start = at - 2 + len(_LENGTH)
    if head[at - 2 : start] != _LENGTH or head.find(b"content-length", start) >= 0:
        return None
    digits = head[start : head.find(b"\r", start)].strip(b" ")
    return int(digits) if digits.isdigit() and len(digits) <= LENGTH_DIGITS_MAX else None


def header_value(data: bytes, head: bytes, name: bytes) -> bytes | None:
    """The value of a header as it was sent; None if the request does not have it.

    Args:
        data: the request.
        head: its head in lower case.
        name: in lower case, with the line break before it and the colon and space after it.
    """
    at = head.find(name)
    if at < 0:
        return None
    start = at + len(name)
    return data[start : head.find(b"\r", start)]
