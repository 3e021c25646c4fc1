"""Bodies that cannot be parsed: each gets a defined 4xx, and nothing reaches the gateway."""

from __future__ import annotations

import asyncio
import gzip
from typing import Any

import pytest
from aiohttp.test_utils import TestServer

from api.monitoring.metrics import METRICS
from tests.unit.api.conftest import Api, Logged, MakeApi
from tests.unit.api.fakes import STUDENT

PATH = "/api/enrollments"
JSON = {"Content-Type": "application/json"}

MALFORMED = {
    "empty": b"",
    "cut": b'{"section_id": 7',
    "trailing": b'{"section_id": 7} x',
    "two documents": b'{"section_id": 7}{"section_id": 8}',
    "NaN": b'{"section_id": NaN}',
    "Infinity": b'{"section_id": -Infinity}',
    "nested 10,000 deep": b"[" * 10_000 + b"]" * 10_000,
    "nested in an unknown field": b'{"section_id": 7, "x": ' + b"[" * 10_000 + b"]" * 10_000 + b"}",
    "lone surrogate": b'{"section_id": 7, "x": "\\ud800"}',
    "lone surrogate as a key": b'{"\\udc00": 7}',
    "not UTF-8": b'{"section_id": 7, "x": "\xff"}',
    "surrogate in UTF-8": b'{"section_id": 7, "\xed\xa0\x80": 1}',
    "UTF-16": '{"section_id": 7}'.encode("utf-16"),
    "byte order mark": b'\xef\xbb\xbf{"section_id": 7}',
    "wrong type, then broken": b'{"section_id": "7", ',
    "single quotes": b"{'section_id': 7}",
    "comment": b'{"section_id": 7 /* seven */}',
    "NUL": b"\x00" * 100,
    "a number beyond all": b'{"section_id": ' + b"9" * 1000 + b"}",
}

INVALID = {
    "null": b"null",
    "list": b'[{"section_id": 7}]',
    "text": b'{"section_id": "7"}',
    "true": b'{"section_id": true}',
    "float": b'{"section_id": 7.5}',
    "1e9": b'{"section_id": 1e9}',
    "zero": b'{"section_id": 0}',
    "negative": b'{"section_id": -7}',
    "beyond 64 bits": b'{"section_id": 9223372036854775808}',
    "missing": b"{}",
    "waitlist as a number": b'{"section_id": 7, "join_waitlist": 1}',
    "waitlist null": b'{"section_id": 7, "join_waitlist": null}',
    "prototype": b'{"section_id": 7, "__proto__": {"role": "admin"}}',
}


@pytest.mark.parametrize("name", MALFORMED)
async def test_what_is_not_json_is_400(api: Api, name: str) -> None:
    answer = await api.ask("POST", PATH, data=MALFORMED[name], headers=JSON)

    assert (answer.status, answer.code) == (400, "malformed_body")
    assert api.world.gateway.commands == []


@pytest.mark.parametrize("name", INVALID)
async def test_what_is_json_but_no_request_is_422(api: Api, name: str) -> None:
    answer = await api.ask("POST", PATH, data=INVALID[name], headers=JSON)

    assert (answer.status, answer.code) == (422, "invalid")
    assert api.world.gateway.commands == []


@pytest.mark.parametrize(
    "headers",
    [
        {"Content-Type": "text/plain"},
        {"Content-Type": "application/x-www-form-urlencoded"},
        {"Content-Type": "application/json; charset=utf-16"},
        {"Content-Type": "application/jsonp"},
        {"Content-Type": ""},
    ],
)
async def test_another_content_type_is_415(api: Api, headers: dict[str, str]) -> None:
    answer = await api.ask("POST", PATH, data=b'{"section_id": 7}', headers=headers)

    assert (answer.status, answer.code) == (415, "unsupported_media_type")


@pytest.mark.parametrize(
    "kind", ["application/json", "application/json; charset=UTF-8", "Application/JSON;charset=utf-8"]
)
async def test_json_may_be_spelt_in_many_ways(api: Api, kind: str) -> None:
    answer = await api.ask("POST", PATH, data=b'{"section_id": 7}', headers={"Content-Type": kind})

    assert answer.status == 201


@pytest.mark.parametrize("encoding", ["gzip", "deflate", "br", "zstd"])
async def test_a_compressed_body_is_415_before_it_is_unpacked(api: Api, encoding: str) -> None:
    bomb = gzip.compress(b" " * 5_000_000)
    assert len(bomb) < 64 * 1024

    answer = await api.ask("POST", PATH, data=bomb, headers={**JSON, "Content-Encoding": encoding})

    assert (answer.status, answer.code) == (415, "unsupported_media_type")


async def test_a_body_of_10_mb_is_413(api: Api) -> None:
    answer = await api.ask("POST", PATH, data=b" " * 10_000_000, headers=JSON)

    assert (answer.status, answer.code) == (413, "body_too_large")


async def test_a_body_without_a_length_is_cut_off_too(api: Api) -> None:
    async def chunks() -> Any:
        for _ in range(100):
            yield b" " * 1024

    answer = await api.ask("POST", PATH, data=chunks(), headers=JSON)

    assert (answer.status, answer.code) == (413, "body_too_large")


async def test_a_body_in_one_chunk_is_measured_too(api: Api) -> None:
    token = api.token(STUDENT)
    head = f"POST {PATH} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {token}\r\nContent-Type: application/json\r\n"
    chunk = b"11170\r\n" + b" " * 70_000 + b"\r\n0\r\n\r\n"

    answer = await api.raw(f"{head}Connection: close\r\nTransfer-Encoding: chunked\r\n\r\n".encode() + chunk)

    assert answer.startswith(b"HTTP/1.1 413 ")


async def test_a_body_in_small_chunks_is_read(api: Api) -> None:
    async def chunks() -> Any:
        for byte in b'{"section_id": 7}':
            yield bytes([byte])
            await asyncio.sleep(0)

    assert (await api.ask("POST", PATH, data=chunks(), headers=JSON)).status == 201


async def test_a_body_that_never_ends_is_408(make_api: MakeApi, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("api.http.bodies.BODY_TIMEOUT_S", 0.05)
    api = await make_api()
    token = api.token(next(iter(api.world.accounts.all.values())))
    head = f"POST {PATH} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {token}\r\nContent-Type: application/json\r\n"

    reader, writer = await asyncio.open_connection(api.client.host, api.client.port)
    writer.write(f"{head}Content-Length: 20\r\n\r\n{{".encode())

    assert (await reader.readline()).startswith(b"HTTP/1.1 408 ")
    writer.close()


@pytest.mark.parametrize(
    "request_bytes",
    [
        b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nGET /",
        b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello",
        b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n5;a\nb\r\nhello\r\n0\r\n\r\n",
        b"GET /health HTTP/1.1\r\nHost: x\r\nX-A: b\nX-Request-Id: c\r\n : d\r\n\r\n",
        b"GET /health HTTP/1.1\r\nHost: x\r\nA: " + b"b" * 20_000 + b"\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n",
    ],
    ids=["length and chunks", "two lengths", "LF in a chunk extension", "bare LF", "a header of 20 KB", "TLS"],
)
async def test_a_request_that_could_be_smuggled_is_400_and_the_end(api: Api, request_bytes: bytes) -> None:
    answer = await api.raw(request_bytes + b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n")

    assert answer.startswith((b"HTTP/1.1 400 ", b"HTTP/1.0 400 ")), answer
    assert answer.count(b"HTTP/1.") == 1, "nothing after it was taken for a request"


async def leave_in_mid_body(api: Api, head: str, sent: bytes) -> None:
    """Send a request whose body is cut, close, and wait until the API has noticed."""
    _, writer = await asyncio.open_connection(api.client.host, api.client.port)
    writer.write(f"{head}\r\nHost: x\r\nContent-Type: application/json\r\n".encode() + sent)
    await asyncio.sleep(0.05)
    writer.close()
    async with asyncio.timeout(5):
        while not api.app[METRICS].traffic.requests:
            await asyncio.sleep(0.01)


@pytest.mark.parametrize(
    "sent",
    [
        b"Content-Length: 50\r\n\r\n{",
        b"Content-Length: 50\r\n\r\n",
        b"Transfer-Encoding: chunked\r\n\r\n5\r\nhell",
        b"Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n",
    ],
    ids=["one byte", "head only", "in a chunk", "between chunks"],
)
async def test_who_leaves_in_mid_body_is_neither_a_500_nor_a_line(
    make_api: MakeApi, logged: Logged, sent: bytes, server_class: type[TestServer]
) -> None:
    if server_class is TestServer:
        pytest.skip("it cancels handlers when a client leaves, and the product's server does not")
    # However long they stayed: slow requests are warnings otherwise.
    api = await make_api(slow_request_s=0.0)
    await leave_in_mid_body(api, "POST /api/auth/login HTTP/1.1", sent)

    assert dict(api.app[METRICS].traffic.requests) == {("POST", "/api/auth/login", 499): 1}
    assert logged() == []


async def test_a_body_that_never_ends_or_breaks_is_no_line(
    make_api: MakeApi, monkeypatch: pytest.MonkeyPatch, logged: Logged
) -> None:
    monkeypatch.setattr("api.http.bodies.BODY_TIMEOUT_S", 0.05)
    api = await make_api(slow_request_s=0.0)
    head = b"POST /api/auth/login HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
    for pieces in ([b"Content-Length: 20\r\n\r\n{"], [b"Transfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n", b"zz\r\n"]):
        reader, writer = await asyncio.open_connection(api.client.host, api.client.port)
        writer.write(head)
        for piece in pieces:
            writer.write(piece)
            await asyncio.sleep(0.01)
        assert (await reader.readline()).startswith(b"HTTP/1.1 408 ")
        writer.close()

    assert logged() == []
