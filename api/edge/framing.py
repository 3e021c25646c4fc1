"""Finds where a request ends, for requests as nearly every client sends them. Of all others it says nothing.

The parser of aiohttp decides what a request is. This is only a shortcut past it, so it gives up at the first oddity:
whatever could be read in two ways must be read by the parser.
"""

from __future__ import annotations

from typing import NamedTuple

HEAD_BYTES_MAX = 8192
LENGTH_DIGITS_MAX = 6
_END = b"\r\n\r\n"
_LENGTH = b"\r\ncontent-length:"
_CONNECTION = b"\r\nconnection:"
_KEEP_ALIVE = b"\r\nconnection: keep-alive\r\n"


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
