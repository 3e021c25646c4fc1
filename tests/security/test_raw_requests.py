"""Malformed and hostile bytes on a socket to a running Seatline."""

from __future__ import annotations

import asyncio
import gzip
from collections.abc import AsyncIterator
from urllib.parse import urlsplit

import psutil
import pytest

from tests.acceptance.seatline import Client, Seatline
from tests.sample_campus import PostgresWorld
from tests.security.people import Person, add_person, enroll

pytestmark = pytest.mark.cluster

CRLF = "\r\n"
MIB = 1 << 20
MEMORY_GROWTH_MAX = 64 * MIB
"""Below the weight of the bodies that are sent (120 MB, and 1.4 GB unpacked), above what an allocator keeps."""


async def send(victim: Seatline, data: bytes) -> bytes:
    """Send ``data`` and read until the server closes."""
    address = urlsplit(victim.url)
    reader, writer = await asyncio.open_connection(address.hostname, address.port)
    try:
        writer.write(data)
        async with asyncio.timeout(15):
            return await reader.read()
    finally:
        writer.close()


def post(token: str, body: bytes, **headers: str) -> bytes:
    """An enrolment as bytes, the last of its connection."""
    lines = {
        "Host": "x",
        "Authorization": f"Bearer {token}",
        "Content-Type": "application/json",
        "Content-Length": str(len(body)),
        "Connection": "close",
        **{name.replace("_", "-"): value for name, value in headers.items()},
    }
    head = CRLF.join(["POST /api/enrollments HTTP/1.1", *(f"{name}: {value}" for name, value in lines.items())])
    return head.encode("latin-1") + b"\r\n\r\n" + body


@pytest.fixture
async def eve(campus: PostgresWorld, attacker: Client) -> Person:
    return await add_person(campus, attacker)


@pytest.fixture(params=["served", "shed"])
async def token(request: pytest.FixtureRequest, campus: PostgresWorld, attacker: Client) -> AsyncIterator[str]:
    """Of a student who is served; or of one whose enrolments are being turned away, which another code does."""
    person = await add_person(campus, attacker)
    if request.param == "shed":
        section_id = await campus.add_section(0)
        while (await enroll(attacker, person, section_id)).status != 429:
            pass
    yield person.token


SMUGGLED = "GET /health HTTP/1.1\r\nHost: x\r\nX-Request-Id: smuggled\r\n\r\n"

AMBIGUOUS = {
    "length and chunks": "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "chunks and length": "Transfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n",
    "two lengths": "Content-Length: 0\r\nContent-Length: 5\r\n\r\n",
    "a list of lengths": "Content-Length: 0, 5\r\n\r\n",
    "a signed length": "Content-Length: +0\r\n\r\n",
    "a length of words": "Content-Length: 0x0\r\n\r\n",
    "space before the colon": "Content-Length : 5\r\n\r\n",
    "chunked, obscured": "Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",
    "chunked twice": "Transfer-Encoding: chunked, chunked\r\n\r\n0\r\n\r\n",
    "LF in a chunk extension": "Transfer-Encoding: chunked\r\n\r\n2;a\nb\r\n{}\r\n0\r\n\r\n",
    "a chunk size with a sign": "Transfer-Encoding: chunked\r\n\r\n-1\r\n\r\n0\r\n\r\n",
    "a chunk size with an underscore": "Transfer-Encoding: chunked\r\n\r\n0_2\r\n{}\r\n0\r\n\r\n",
    "bare LF between headers": "X-A: b\nContent-Length: 0\r\n : d\r\n\r\n",
    "a header folded": "X-A: b\r\n c\r\nContent-Length: 0\r\n x\r\n\r\n",
    "NUL in a header": "X-A: a\0b\r\nContent-Length: 0\r\n\r\n",
    "CR in a header": "X-A: a\rX-B: b\r\nContent-Length: 0\r\n\r\n",
}


@pytest.mark.parametrize("name", AMBIGUOUS)
async def test_a_request_whose_end_is_unclear_is_400_and_nothing_after_it_is_read(
    victim: Seatline, token: str, name: str
) -> None:
    head = f"POST /api/enrollments HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {token}\r\n"
    kind = "Content-Type: application/json\r\n"

    answer = await send(victim, f"{head}{kind}{AMBIGUOUS[name]}{SMUGGLED}".encode())

    assert answer.startswith((b"HTTP/1.1 400 ", b"HTTP/1.0 400 ")), answer[:200]
    assert answer.count(b"HTTP/1.") == 1, answer
    assert b"smuggled" not in answer


async def test_a_request_after_a_whole_one_is_its_own(
    victim: Seatline, token: str, request: pytest.FixtureRequest
) -> None:
    """The control of the test above: with a clear end, what follows is a request of its own and is answered."""
    whole = post(token, b"{}").replace(b"Connection: close\r\n", b"")

    answer = await send(victim, whole + SMUGGLED.replace("\r\n\r\n", "\r\nConnection: close\r\n\r\n").encode())

    status = b"429" if request.node.callspec.params["token"] == "shed" else b"422"
    assert answer.startswith(b"HTTP/1.1 " + status)
    assert answer.count(b"HTTP/1.1 ") == 2
    assert b"smuggled" in answer


BODIES = {
    "cut": (b'{"section_id": 7', 400),
    "NaN": (b'{"section_id": NaN}', 400),
    "1e9": (b'{"section_id": 1e9}', 422),
    "a lone surrogate": (b'{"section_id": 7, "x": "\\ud800"}', 400),
    "10,000 deep": (b"[" * 10_000 + b"]" * 10_000, 400),
    "10,000 deep in an unknown field": (b'{"section_id": 7, "x": ' + b"[" * 10_000 + b"]" * 10_000 + b"}", 400),
    "10 MB": (b" " * 10_000_000, 413),
}


@pytest.mark.parametrize("name", BODIES)
async def test_a_body_that_is_none_is_a_defined_4xx(victim: Seatline, eve: Person, name: str) -> None:
    body, status = BODIES[name]

    answer = await send(victim, post(eve.token, body))

    assert answer.startswith(f"HTTP/1.1 {status} ".encode()), answer[:200]
    assert b"application/problem+json" in answer


async def test_neither_large_bodies_nor_a_gzip_bomb_weigh_on_memory(
    victim: Seatline, attacker: Client, eve: Person
) -> None:
    bomb = gzip.compress(b"[" * 100_000_000)
    assert len(bomb) > 64 * 1024, "it is refused for what it is, not for its size alone"
    small_bomb = gzip.compress(b"[" * 20_000_000)[:60_000]
    await send(victim, post(eve.token, b" " * 10_000_000))
    before = api_memory(victim)

    for _ in range(12):
        assert b" 413 " in (await send(victim, post(eve.token, b" " * 10_000_000)))[:20]
        assert (await send(victim, post(eve.token, bomb, Content_Encoding="gzip")))[9:12] in {b"413", b"415"}
        assert b" 415 " in (await send(victim, post(eve.token, small_bomb, Content_Encoding="gzip")))[:20]

    assert api_memory(victim) - before < MEMORY_GROWTH_MAX
    assert (await attacker.request("GET", "/health")).status == 200


def api_memory(victim: Seatline) -> int:
    """Resident bytes of the API process."""
    children = psutil.Process(victim.process.pid).children(recursive=True)
    (api,) = [child for child in children if child.name().startswith("ray::ApiServer")]
    return int(api.memory_info().rss)


@pytest.mark.parametrize("key", ["x" * 10_240, "a\0b", 'a"b', "a'b", "a\x1b[31m", "a\x7f", "\xff"])
async def test_an_idempotency_key_that_is_none_is_400(
    victim: Seatline, campus: PostgresWorld, eve: Person, key: str
) -> None:
    section_id = await campus.add_section(5)

    answer = await send(victim, post(eve.token, b'{"section_id": %d}' % section_id, Idempotency_Key=key))

    assert answer.startswith((b"HTTP/1.1 400 ", b"HTTP/1.0 400 ")), answer[:200]
    assert await campus.statuses(section_id) == {}


@pytest.mark.parametrize("given", ["a\x1b[31mred", "a b", "<script>", "x" * 65, "%0d%0aSet-Cookie:x"])
async def test_a_request_id_that_could_forge_a_log_line_is_not_taken(victim: Seatline, eve: Person, given: str) -> None:
    answer = await send(victim, post(eve.token, b"{}", X_Request_Id=given))

    assert given.encode() not in answer


async def test_an_unexpected_error_says_nothing_but_its_request_id(
    victim: Seatline, attacker: Client, campus: PostgresWorld
) -> None:
    await campus.connection.execute("REVOKE SELECT ON semesters FROM seatline_app")
    try:
        answer = await attacker.request("GET", "/api/semesters")
    finally:
        await campus.connection.execute("GRANT SELECT ON semesters TO seatline_app")

    assert (answer.status, answer.body["code"]) == (500, "internal_error")
    assert answer.body["request_id"] in answer.headers.values()
    assert not any(word in str(answer.body).lower() for word in ("permission", "semesters", "postgres", "traceback"))
