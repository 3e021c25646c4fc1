"""The express lane: the same answers as from the handlers, in order, also when clients disconnect."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
from aiohttp import web
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from allocator.model.delivery import MOVED, OVERLOADED, UNAVAILABLE, UNKNOWN, Reply
from allocator.model.outcomes import Code, Outcome, Reason, ReasonCode, refused
from allocator.model.read_models import SectionView
from api.app import build_app, make_express_lane
from api.edge.express_lane import ExpressLane
from api.edge.server import EdgeRunner
from api.edge.shedding import SHEDDING
from api.services import ApiConfig
from api.signin.tokens import ACCESS_TOKENS
from tests.unit.api.conftest import PoliteRunner
from tests.unit.api.fakes import SECRET, STUDENT, TEACHER, World
from tests.unit.api.test_shedding import BODY, Wire, door

REPLIES = [
    Reply(Outcome(Code.ENROLLED, 7, 100)),
    Reply(Outcome(Code.ENROLLED, 7, 100), replayed=True),
    Reply(Outcome(Code.WAITLISTED, 7, 101, place=9, position=3)),
    Reply(refused(7, Reason(ReasonCode.CREDIT_LIMIT, "Too many."), Reason(ReasonCode.SCHEDULE_CONFLICT, "Then.", 5))),
    Reply(Outcome(Code.NOT_FOUND, 7)),
    Reply(Outcome(Code.KEY_REUSED, 7)),
    OVERLOADED,
    UNAVAILABLE,
    UNKNOWN,
    MOVED,
]


@contextlib.asynccontextmanager
async def served(world: World, *, by_express: bool, **config: Any) -> AsyncIterator[tuple[web.Application, int]]:
    app = build_app(world.services(ApiConfig(SECRET, **config)))
    options: dict[str, Any] = {"access_log": None, "shutdown_timeout": 1.0, "auto_decompress": False}
    runner = (
        EdgeRunner(app, app[SHEDDING], make_express_lane(app), 100, **options)
        if by_express
        else PoliteRunner(app, **options)
    )
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    yield app, runner.addresses[0][1]
    await runner.cleanup()


async def exchange(port: int, request: bytes) -> tuple[bytes, dict[bytes, bytes], bytes]:
    """Status line, headers and body of the answer."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(request)
    async with asyncio.timeout(5):
        head = await reader.readuntil(b"\r\n\r\n")
        status, *lines = head.removesuffix(b"\r\n\r\n").split(b"\r\n")
        headers = dict(line.split(b": ", 1) for line in lines)
        body = await reader.readexactly(int(headers.get(b"Content-Length", b"0")))
    writer.close()
    return status, headers, body


def comparable(answer: tuple[bytes, dict[bytes, bytes], bytes]) -> object:
    """An answer without what is different in every one."""
    status, headers, body = answer
    told: Any = body
    if b"json" in headers.get(b"Content-Type", b"") and body:
        told = json.loads(body)
        told.pop("request_id", None)
    return status, {name: value for name, value in headers.items() if name not in VARYING}, told


VARYING = {b"Date", b"X-Request-Id", b"Content-Length"}


def post(token: str, body: bytes, *more: str) -> bytes:
    lines = ["POST /api/enrollments HTTP/1.1", "Host: x", f"Authorization: Bearer {token}", *more]
    return ("\r\n".join([*lines, f"Content-Length: {len(body)}"]) + "\r\n\r\n").encode("latin-1") + body


@pytest.fixture
def taken(monkeypatch: pytest.MonkeyPatch) -> list[bool]:
    """What the express lane said to each request that it was offered."""
    said: list[bool] = []
    take = ExpressLane.take

    def noting(self: ExpressLane, *request: Any) -> bool:
        said.append(take(self, *request))
        return said[-1]

    monkeypatch.setattr(ExpressLane, "take", noting)
    return said


@pytest.mark.parametrize("reply", REPLIES, ids=lambda reply: reply.code.value)
async def test_every_reply_is_answered_as_by_the_handler(reply: Reply, taken: list[bool]) -> None:
    answers = []
    for by_express in (True, False):
        world = World()
        world.gateway.reply = reply
        async with served(world, by_express=by_express, is_production=True) as (app, port):
            token = app[ACCESS_TOKENS].issue(STUDENT)
            request = post(token, BODY, "Content-Type: application/json", "Idempotency-Key: abc")
            answers.append(comparable(await exchange(port, request)))
    assert taken == [True]
    assert answers[0] == answers[1]


SNIPPETS: list[Callable[[str], list[str]]] = [
    lambda _: ["Content-Type: application/json"],
    lambda _: ["Content-Type: application/json; charset=utf-8"],
    lambda _: ["Content-Type: text/plain"],
    lambda _: ["Content-Encoding: gzip"],
    lambda _: ["Idempotency-Key: abc"],
    lambda _: ["Idempotency-Key: "],
    lambda _: ["Idempotency-Key: a", "Idempotency-Key: b"],
    lambda _: ['Idempotency-Key: "quoted"'],
    lambda _: ["X-Request-Id: mine-1"],
    lambda _: ["X-Request-Id: not sane"],
    lambda _: ["Origin: https://elsewhere.example"],
    lambda _: ["Connection: close"],
    lambda _: ["Cookie: a=b"],
    lambda token: [f"Authorization: Bearer {token}"],
    lambda _: ["Authorization: Basic eA=="],
]
BODIES = [
    BODY, b'{"section_id":7,"join_waitlist":false}', b'{"section_id":0}', b'{"section_id":7,"student_id":2}', b"{",
    b"\xff", b"[]", b'{"section_id":1e9}', b'{"section_id":NaN}', b"", b'{"section_id":9223372036854775808}',
]  # fmt: skip


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.sampled_from(SNIPPETS), max_size=4), st.sampled_from(BODIES), st.sampled_from([STUDENT, TEACHER]))
def test_whatever_is_sent_is_answered_as_by_the_handler(
    snippets: list[Callable[[str], list[str]]], body: bytes, who: Any
) -> None:
    async def both() -> None:
        answers, commands = [], []
        for by_express in (True, False):
            world = World()
            async with served(world, by_express=by_express) as (app, port):
                token = app[ACCESS_TOKENS].issue(who)
                lines = [line for snippet in snippets for line in snippet(token)]
                answers.append(comparable(await exchange(port, post(token, body, *lines))))
                commands.append([one._replace(key="") for one in world.gateway.envelopes])
        assert answers[0] == answers[1]
        assert commands[0] == commands[1]

    asyncio.run(both())


@pytest.mark.parametrize(
    ("path", "more"),
    [("7", ""), ("7", 'If-None-Match: "nothing"\r\n'), ("7", "If-None-Match: *\r\n"), ("8", ""), ("007", ""),
     ("7?a=b", ""), ("0", ""), ("99999999999999999999", ""), ("7/", "")],
)  # fmt: skip
async def test_a_section_is_shown_as_by_the_handler(path: str, more: str) -> None:
    answers = []
    for by_express in (True, False):
        async with served(World(), by_express=by_express) as (_, port):
            request = f"GET /api/sections/{path} HTTP/1.1\r\nHost: x\r\n{more}\r\n".encode()
            await exchange(port, b"GET /api/sections/7 HTTP/1.1\r\nHost: x\r\n\r\n")  # now it is at hand
            answers.append(comparable(await exchange(port, request)))
    assert answers[0] == answers[1]


async def test_a_section_at_hand_goes_by_express_and_is_not_sent_twice(taken: list[bool]) -> None:
    async with served(World(), by_express=True) as (_, port):
        look = b"GET /api/sections/7 HTTP/1.1\r\nHost: x\r\n"
        _, headers, body = await exchange(port, look + b"\r\n")
        again = await exchange(port, look + b"\r\n")
        known = await exchange(port, look + b"If-None-Match: " + headers[b"ETag"] + b"\r\n\r\n")
    assert taken == [False, True, True]
    assert again[2] == body
    assert known[0] == b"HTTP/1.1 304 Not Modified"
    assert known[2] == b""


async def test_what_is_no_longer_at_hand_is_handed_back(taken: list[bool]) -> None:
    world = World()

    def gone(section_id: int, tell: Callable[[SectionView | None], None]) -> bool:
        asyncio.get_running_loop().call_later(0.02, tell, None)
        return True

    world.board.look = gone  # type: ignore[method-assign]  # as if it had expired meanwhile
    async with served(world, by_express=True) as (_, port):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        wire = Wire(reader, writer)
        for _ in range(3):
            # The second is sent before the first is answered.
            await wire.send(b"GET /api/sections/7 HTTP/1.1\r\nHost: x\r\n\r\n")
            await wire.send(b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n")
            assert (await wire.answer())[2]["id"] == 7
            assert (await wire.answer())[0] == 200
        writer.close()
    assert taken[0]


async def test_what_comes_before_the_answer_is_answered_after_it() -> None:
    async with door() as at, at.wire() as wire:
        await wire.send(at.enroll())
        await at.filled(1)
        await wire.send(b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n" + at.enroll())
        assert await wire.silence()
        at.gateway.go.set()
        assert [(await wire.answer())[0] for _ in range(3)] == [201, 200, 201]


async def test_a_shutdown_waits_for_the_answer() -> None:
    async with door() as at, at.wire() as wire:
        await wire.send(at.enroll())
        await at.filled(1)
        asyncio.get_running_loop().call_later(0.2, at.gateway.go.set)
        stopping = asyncio.ensure_future(at.stop())
        assert (await wire.answer())[0] == 201
        assert await wire.is_closed()
        await stopping


async def test_a_client_of_http_1_0_is_answered_as_by_the_handler() -> None:
    answers = []
    for by_express in (True, False):
        async with served(World(), by_express=by_express) as (_, port):
            await exchange(port, b"GET /api/sections/7 HTTP/1.1\r\nHost: x\r\n\r\n")  # now it is at hand
            request = b"GET /api/sections/7 HTTP/1.0\r\nHost: x\r\nConnection: keep-alive\r\n\r\n"
            answers.append(comparable(await exchange(port, request)))
    assert answers[0] == answers[1]


async def test_a_body_that_is_too_large_is_too_large_on_both_ways() -> None:
    statuses = []
    for by_express in (True, False):
        async with served(World(), by_express=by_express) as (app, port):
            body = BODY + b" " * 65_000 + b" " * 600
            request = post(app[ACCESS_TOKENS].issue(STUDENT), body, "Content-Type: application/json")
            statuses.append((await exchange(port, request))[0])
    assert statuses == [b"HTTP/1.1 413 Request Entity Too Large"] * 2


async def test_a_shutdown_does_not_wait_for_what_is_handed_back() -> None:
    world = World()

    def gone(section_id: int, tell: Callable[[SectionView | None], None]) -> bool:
        asyncio.get_running_loop().call_later(0.1, tell, None)
        return True

    world.board.look = gone  # type: ignore[method-assign]
    loop = asyncio.get_running_loop()
    async with served(world, by_express=True) as (_, port):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        await Wire(reader, writer).send(b"GET /api/sections/7 HTTP/1.1\r\nHost: x\r\n\r\n")
        began = loop.time()
    assert loop.time() - began < 0.8
    assert await reader.read() == b""
    writer.close()
