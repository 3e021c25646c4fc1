"""What the edge takes for plain, aiohttp's parser takes for the same request: over heads of every kind."""

from __future__ import annotations

from unittest.mock import Mock

import pytest
from aiohttp.http_exceptions import HttpProcessingError
from aiohttp.http_parser import HttpRequestParser, RawRequestMessage
from hypothesis import given, settings
from hypothesis import strategies as st

from api.edge.framing import Frame, is_plain, read_frame

FIRST = b"POST /api/enrollments HTTP/1.1\r\n"
NAMES = [
    b"Host", b"host", b"Content-Length", b"Content-Type", b"Connection", b"Proxy-Connection", b"Transfer-Encoding",
    b"Upgrade", b"Expect", b"User-Agent", b"Server", b"ETag", b"Max-Forwards", b"Content-Range", b"Content-Location",
    b"Sec-WebSocket-Key1", b"Sec-WebSocket-Key", b"Authorization", b"Cookie", b"X-Forwarded-For", b"Content-Encoding",
    b"Keep-Alive", b"TE", b"Trailer", b"HTTP2-Settings", b"X", b"!#$%&'*+-.^_`|~09",
]  # fmt: skip
VALUES = [
    b"x", b"", b"0", b"5", b"05", b"5, 5", b"+5", b"keep-alive", b"close", b"Keep-Alive", b"keep-alive, close",
    b"upgrade", b"chunked", b"identity", b"websocket", b"100-continue", b"gzip", b"a\tb", b"\xff", b"\xc3\xa9", b"a,b",
]  # fmt: skip
SEPARATORS = [b": ", b":", b":  ", b":\t", b" : ", b" "]
ENDS = [b"\r\n", b" \r\n", b"\t\r\n", b"\r\n ", b"\r\n\t", b"\n", b"\r", b"\r\r\n", b"\0\r\n", b"\x0b\r\n", b"\x7f\r\n"]


def mostly(usual: bytes, others: list[bytes]) -> st.SearchStrategy[bytes]:
    return st.one_of(st.just(usual), st.just(usual), st.just(usual), st.sampled_from(others))


LINE = st.builds(
    lambda *parts: b"".join(parts),
    st.one_of(st.sampled_from(NAMES), st.sampled_from(NAMES), st.binary(min_size=1, max_size=3)),
    mostly(b": ", SEPARATORS),
    st.one_of(st.sampled_from(VALUES), st.sampled_from(VALUES), st.binary(max_size=4)),
    mostly(b"\r\n", ENDS),
)
HEAD = st.builds(lambda lines: FIRST + b"".join(lines) + b"\r\n", st.lists(LINE, max_size=6))
HEAD_WITH_HOST = st.builds(
    lambda before, after: FIRST + b"".join([*before, b"Host: x\r\n", *after]) + b"\r\n",
    st.lists(LINE, max_size=4),
    st.lists(LINE, max_size=4),
)


def parsed(data: bytes) -> RawRequestMessage | None:
    """The head as aiohttp's parser reads it; None if it takes none, or not exactly one."""
    try:
        messages, is_upgraded, rest = HttpRequestParser(Mock(), Mock(), 2**16).feed_data(data)
    except HttpProcessingError:
        return None
    return messages[0][0] if len(messages) == 1 and not is_upgraded and not rest else None


def plain_frame(data: bytes) -> Frame | None:
    frame = read_frame(data)
    return frame if frame is not None and is_plain(frame.head) else None


@settings(max_examples=1000, deadline=None)
@given(st.one_of(HEAD, HEAD_WITH_HOST))
def test_what_is_plain_is_taken_by_the_parser_and_leaves_the_connection_open(head: bytes) -> None:
    frame = plain_frame(head)
    if frame is None:
        return
    message = parsed((head + b"x" * 100)[: frame.length])
    assert message is not None, head
    assert not message.should_close
    assert not message.chunked
    assert frame.length == len(frame.head) + 2 + int(message.headers.get("Content-Length", "0"))


@pytest.mark.parametrize("count", [1, 127, 128, 129])
def test_as_many_headers_are_plain_as_the_parser_takes(count: int) -> None:
    head = FIRST + b"Host: x\r\n" + b"".join(b"X-%d: y\r\n" % number for number in range(count - 1)) + b"\r\n"
    assert (plain_frame(head) is not None) == (parsed(head) is not None) == (count <= 128)


@pytest.mark.parametrize(
    "line",
    [
        b"X-Forwarded-For: 1.2.3.4\r\nX-Forwarded-For: 1.2.3.4",
        b"Cookie: a=b\r\nCookie: c=d",
        b"User-Agent: M\xfcller/1.0 (\xe2\x9c\x93)",
        b"Accept:*/*",
        b"X-Empty:",
        b"X-Tab: a\tb",
    ],
)
def test_what_real_clients_and_proxies_send_is_plain(line: bytes) -> None:
    """Or they would be refused at the price of a handler."""
    head = FIRST + b"Host: x\r\nConnection: keep-alive\r\n" + line + b"\r\nContent-Length: 0\r\n\r\n"
    assert plain_frame(head) is not None
    assert parsed(head) is not None
