"""Streams of requests, plain and odd, cut anywhere: the edge answers them as aiohttp and the handlers alone do.

Most of the streams are sent while everything is turned away. ``SEATLINE_FUZZ_STREAMS`` says how many there are,
``SEATLINE_FUZZ_SEED`` which.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
from collections.abc import AsyncIterator, Callable
from typing import Any

import msgspec
import pytest
from aiohttp import web

from allocator.model.delivery import Envelope
from api.app import build_app, make_express_lane
from api.edge.refusals import Refusals
from api.edge.server import EdgeRunner
from api.edge.shedding import SHEDDING
from api.services import ApiConfig
from api.signin.tokens import ACCESS_TOKENS
from tests.unit.api.conftest import PoliteRunner
from tests.unit.api.fakes import SECRET, STUDENT, World
from tests.unit.api.test_shedding import BODY, NOT_HTTP, SPELLINGS, spoilt

STREAMS = int(os.environ.get("SEATLINE_FUZZ_STREAMS", "300"))
SEED = int(os.environ.get("SEATLINE_FUZZ_SEED", "1"))
TRIES = 3
"""What was cut may arrive in one piece, and two answers may be written as one; only what differs each time differs."""
PATIENCE_S = 0.5
END = b"GET /health HTTP/1.1\r\nHost: x\r\nX-Padding: " + b"x" * 1000 + b"\r\nConnection: close\r\n\r\n"
"""Long enough for a body of any three digits: of half a request the edge says nothing, a handler may refuse it."""
HEALTH = b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n"
SECTION = b"GET /api/sections/7 HTTP/1.1\r\nHost: x\r\n\r\n"
LINES = [
    b"Connection: keep-alive", b"Connection: close", b"Connection: keep-alive\r\nConnection: close", b"X: y",
    b"Proxy-Connection: close", b"Content-Length: 16", b"Content-Length: 20", b"Transfer-Encoding: identity",
    b"Origin: https://campus.example", b"X-Forwarded-For: unknown", b"Cookie: \xff", b"X-Content-Length: 3",
    b"Expect: 100-continue", b"Upgrade: h2c", b"Upgrade: websocket", b"TE: trailers", b"Keep-Alive: timeout=5",
]  # fmt: skip
JUNK = [b"\r\n", b"\r\n\r\n", b"\0", b" ", b"GARBAGE\r\n\r\n", b"x" * 40, b"GET /health\r\n\r\n", b"\x16\x03\x01\x02\0"]
Sequence = list[tuple[int, str]]


def mutated(rng: random.Random, plain: bytes) -> bytes:
    """A request with a byte of its head changed, added or taken away."""
    at = rng.randrange(plain.index(b"\r\n\r\n") + 4)
    byte = bytes([rng.choice(b"\0\t\n\r :/%\x7f\x80\xffaZ01")])
    return rng.choice(
        [plain[:at] + byte + plain[at + 1 :], plain[:at] + byte + plain[at:], plain[:at] + plain[at + 1 :]]
    )


def with_length(rng: random.Random, plain: bytes) -> bytes:
    return plain.replace(b"Content-Length: 16", b"Content-Length: %d" % rng.randrange(24))


def request(rng: random.Random, plain: bytes) -> bytes:
    """One request of a stream, or what is none."""
    makers: list[tuple[float, Callable[[], bytes]]] = [
        (6, lambda: plain),
        (2, lambda: HEALTH),
        (1, lambda: SECTION),
        (3, lambda: b"".join(SPELLINGS[rng.choice(list(SPELLINGS))](plain))),
        (2, lambda: spoilt(plain, rng.choice(list(NOT_HTTP.values())))),
        (3, lambda: spoilt(plain, rng.choice(LINES))),
        (3, lambda: mutated(rng, plain)),
        (1, lambda: with_length(rng, plain)),
        (0.5, lambda: rng.choice(JUNK)),
    ]
    (maker,) = rng.choices([make for _, make in makers], [weight for weight, _ in makers])
    return maker()


def stream(rng: random.Random, plain: bytes) -> list[bytes]:
    """The pieces of a stream."""
    requests = [request(rng, plain) for _ in range(rng.randint(1, 4))]
    pieces = [plain] if rng.random() < 0.7 else []  # at best the edge sees one of them before anything odd
    for one in [*requests, END]:
        cuts = sorted(rng.sample(range(1, len(one)), min(rng.choice([0, 0, 0, 1, 2]), len(one) - 1)))
        pieces += [one[start:end] for start, end in zip([0, *cuts], [*cuts, len(one)], strict=True)]
        if rng.random() < 0.15 and len(pieces) > 1:
            pieces[-2:] = [pieces[-2] + pieces[-1]]
    return pieces


def answers_in(received: bytes) -> Sequence:
    """Status and code of each answer."""
    found: Sequence = []
    while received:
        head, _, rest = received.partition(b"\r\n\r\n")
        status = int(head[9:12])
        if status == 100:
            received = rest
            continue
        headers = dict(line.lower().split(b": ", 1) for line in head.split(b"\r\n")[1:])
        assert headers[b"server"] == b"seatline", head
        length = int(headers.get(b"content-length", b"0"))
        body, received = rest[:length], rest[length:]
        is_problem = headers.get(b"content-type") == b"application/problem+json"
        found.append((status, msgspec.json.decode(body)["code"] if is_problem else ""))
    return found


class Client(asyncio.Protocol):
    """Keeps what it receives, also if the connection is reset afterwards since more was sent than was read."""

    def __init__(self) -> None:
        self.received = bytearray()
        self.closed = asyncio.Event()

    def data_received(self, data: bytes) -> None:
        self.received += data

    def connection_lost(self, exc: Exception | None) -> None:
        self.closed.set()


class Server:
    """One way on which requests may go."""

    def __init__(self, app: web.Application, port: int, world: World) -> None:
        self.app = app
        self.port = port
        self.world = world

    async def answers(self, pieces: list[bytes]) -> tuple[Sequence, bool, list[Envelope]]:
        """The answers to a stream, whether the connection was closed after them, and what was decided."""
        self.world.gateway.envelopes.clear()
        transport, client = await asyncio.get_running_loop().create_connection(Client, "127.0.0.1", self.port)
        for piece in pieces:
            if transport.is_closing():
                break
            transport.write(piece)
            await asyncio.sleep(0.001)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(PATIENCE_S):
                await client.closed.wait()
        is_closed = client.closed.is_set()
        transport.close()
        return (
            answers_in(bytes(client.received)),
            is_closed,
            [one._replace(key="") for one in self.world.gateway.envelopes],
        )


@contextlib.asynccontextmanager
async def server(*, is_edge: bool, has_room: bool) -> AsyncIterator[Server]:
    world = World()
    app = build_app(world.services(ApiConfig(SECRET, enrollments_per_s=1e6, enrollments_burst=1_000_000)))
    if not has_room:
        app[SHEDDING].admission.limit = 0
    options: dict[str, Any] = {"access_log": None, "shutdown_timeout": 0.1, "lingering_time": 0.2}
    runner = (
        EdgeRunner(app, app[SHEDDING], make_express_lane(app), 100, **options)
        if is_edge
        else PoliteRunner(app, **options)
    )
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    yield Server(app, runner.addresses[0][1], world)
    await runner.cleanup()


async def test_streams_are_answered_as_by_the_handlers_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    shed = 0
    answer = Refusals.answer

    def counting(self: Refusals, *request: Any) -> bytes:
        nonlocal shed
        shed += 1
        return answer(self, *request)

    monkeypatch.setattr(Refusals, "answer", counting)  # which only the edge calls, before a request is parsed
    rng = random.Random(SEED)
    different, met_shedding = [], 0
    async with contextlib.AsyncExitStack() as opened:
        pairs = {
            has_room: [
                await opened.enter_async_context(server(is_edge=is_edge, has_room=has_room))
                for is_edge in (True, False)
            ]
            for has_room in (True, False)
        }
        token = pairs[True][0].app[ACCESS_TOKENS].issue(STUDENT)
        plain = (
            f"POST /api/enrollments HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {token}\r\n"
            f"Content-Type: application/json\r\nContent-Length: {len(BODY)}\r\n\r\n"
        ).encode() + BODY
        for number in range(STREAMS):
            has_room = rng.random() < 0.3
            pieces = stream(rng, plain)
            shed = 0
            for _ in range(TRIES):
                ways = await asyncio.gather(*(one.answers(pieces) for one in pairs[has_room]))
                if ways[0] == ways[1]:
                    break
            else:
                different.append((number, has_room, pieces, ways))
            met_shedding += shed > 0
        await asyncio.sleep(0.3)
        under_way = [one.app[SHEDDING].admission.in_flight for pair in pairs.values() for one in pair]
    assert under_way == [0, 0, 0, 0], "whoever came in has left"
    assert different == [], f"{len(different)} of {STREAMS}"
    assert met_shedding >= STREAMS / 3
