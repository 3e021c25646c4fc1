"""Load shedding before parsing: correct HTTP, no effect, and no harm to other requests of the connection."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

import msgspec
import pytest
import structlog
from aiohttp import web

from allocator.model.commands import Enroll
from allocator.model.delivery import Envelope, Reply
from allocator.model.outcomes import Code, Outcome
from api.app import build_app, make_express_lane
from api.edge.server import EdgeRunner
from api.edge.shedding import SHEDDING
from api.limits import FLOODERS
from api.monitoring.readiness import READINESS
from api.services import ApiConfig
from api.signin.tokens import ACCESS_TOKENS
from tests.unit.api.fakes import OTHER_STUDENT, SECRET, STUDENT, FakeGateway, World

BODY = b'{"section_id":7}'


@dataclass
class HeldGateway(FakeGateway):
    """Decides when the test says."""

    go: asyncio.Event = field(default_factory=asyncio.Event)
    envelopes: list[Envelope] = field(default_factory=list)

    async def submit(self, envelope: Envelope, deadline_s: float | None = None) -> Reply:
        self.envelopes.append(envelope)
        await self.go.wait()
        return Reply(Outcome(Code.ENROLLED, envelope.command.needs.section_ids[0], 100))


class Wire:
    """One connection, byte by byte."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    async def send(self, data: bytes) -> None:
        self._writer.write(data)
        await self._writer.drain()
        await asyncio.sleep(0.01)  # so that what is sent apart arrives apart

    async def answer(self, *, skip: bytes = b"") -> tuple[int, dict[str, str], Any]:
        """Exactly one answer: status, headers, JSON. One that is ``skip`` is passed over."""
        async with asyncio.timeout(5):
            raw = await self._reader.readuntil(b"\r\n\r\n")
            head = (await self._reader.readuntil(b"\r\n\r\n") if raw == skip else raw).decode()
            lines = head.split("\r\n")
            headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines[1:] if line)}
            body = await self._reader.readexactly(int(headers["content-length"]))
        return (
            int(lines[0].split()[1]),
            headers,
            msgspec.json.decode(body) if "json" in headers["content-type"] else body,
        )

    async def silence(self) -> bool:
        """Whether nothing comes, not even the end."""
        try:
            async with asyncio.timeout(0.05):
                await self._reader.read(1)
                return False
        except TimeoutError:
            return True

    async def is_closed(self) -> bool:
        async with asyncio.timeout(5):
            return await self._reader.read(1) == b""


@dataclass
class Door:
    """The application behind the protocol that sheds."""

    app: web.Application
    gateway: HeldGateway
    port: int
    stop: Callable[[], Awaitable[None]]

    @contextlib.asynccontextmanager
    async def wire(self) -> AsyncIterator[Wire]:
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        yield Wire(reader, writer)
        writer.close()

    def enroll(self, who: Any = STUDENT, body: bytes = BODY, extra: str = "", line: str = "") -> bytes:
        token = self.app[ACCESS_TOKENS].issue(who)
        head = (
            f"{line or 'POST /api/enrollments HTTP/1.1'}\r\nHost: x\r\nAuthorization: Bearer {token}\r\n"
            f"Content-Type: application/json\r\n{extra}Content-Length: {len(body)}\r\n\r\n"
        )
        return head.encode() + body

    async def filled(self, count: int) -> None:
        """Wait until so many are under way."""
        async with asyncio.timeout(5):
            while len(self.gateway.commands) < count:
                await asyncio.sleep(0.005)


@contextlib.asynccontextmanager
async def door(connections_max: int = 100, **config: Any) -> AsyncIterator[Door]:
    world = World()
    gateway = HeldGateway()
    world.gateway = gateway
    app = build_app(world.services(ApiConfig(SECRET, **config)))
    runner = EdgeRunner(
        app, app[SHEDDING], make_express_lane(app), connections_max, access_log=None, shutdown_timeout=1.0
    )
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    yield Door(app, gateway, runner.addresses[0][1], runner.cleanup)
    gateway.go.set()
    await runner.cleanup()


async def test_who_finds_no_room_is_told_so_at_once_and_changes_nothing() -> None:
    async with door(in_flight_max=1) as at, at.wire() as first, at.wire() as second:
        await first.send(at.enroll())
        await at.filled(1)
        await second.send(at.enroll(OTHER_STUDENT))
        status, headers, body = await second.answer()

        assert (status, body["code"], body["status"]) == (503, "overloaded", 503)
        assert headers["content-type"] == "application/problem+json"
        assert int(headers["retry-after"]) >= 1
        assert headers["x-request-id"] == body["request_id"]
        assert headers["x-content-type-options"] == "nosniff"
        assert len(at.gateway.commands) == 1

        at.gateway.go.set()
        assert (await first.answer())[0] == 201
        await second.send(at.enroll(OTHER_STUDENT))
        assert (await second.answer())[0] == 201
        assert at.app[SHEDDING].admission.in_flight == 0


async def test_a_connection_stays_in_step_over_any_mix_of_answers() -> None:
    async with door(in_flight_max=1) as at, at.wire() as first, at.wire() as second:
        await first.send(at.enroll())
        await at.filled(1)
        statuses = []
        for request in [
            at.enroll(),
            b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n",
            at.enroll(),
            at.enroll(line="POST /api/nonesuch HTTP/1.1"),
            at.enroll(),
            b"GET /api/courses HTTP/1.1\r\nHost: x\r\n\r\n",
        ]:
            await second.send(request)
            statuses.append((await second.answer())[0])
        assert statuses == [503, 200, 503, 404, 503, 200], "reads and health are never turned away"
        assert await second.silence()


@pytest.mark.parametrize("cut", [-1, -8, -len(BODY)])
async def test_half_a_request_is_not_answered(cut: int) -> None:
    async with door(in_flight_max=1) as at, at.wire() as first, at.wire() as second:
        await first.send(at.enroll())
        await at.filled(1)
        request = at.enroll(OTHER_STUDENT)
        await second.send(request[:cut])
        assert await second.silence()
        await second.send(request[cut:])
        assert (await second.answer())[0] == 503
        await second.send(request[:cut])
        await second.send(request[cut:] + b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n")
        assert [(await second.answer())[0], (await second.answer())[0]] == [503, 200]
        assert len(at.gateway.commands) == 1


async def test_half_a_body_takes_nobodys_room() -> None:
    async with door(in_flight_max=1) as at, at.wire() as slow, at.wire() as quick:
        request = at.enroll(OTHER_STUDENT)
        await slow.send(request[:-4])
        await quick.send(at.enroll())
        await at.filled(1)
        await slow.send(request[-4:])
        await at.filled(2)
        assert at.app[SHEDDING].admission.in_flight == 2, "it was let in before there was no room"
        at.gateway.go.set()
        assert [(await quick.answer())[0], (await slow.answer())[0]] == [201, 201]
        assert at.app[SHEDDING].admission.in_flight == 0


async def test_pipelined_requests_are_answered_in_their_order() -> None:
    async with door(in_flight_max=1) as at, at.wire() as first, at.wire() as second:
        await first.send(at.enroll() + b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n")
        await at.filled(1)
        at.gateway.go.set()
        assert [(await first.answer())[0], (await first.answer())[0]] == [201, 200]

        at.gateway.go.clear()
        await second.send(at.enroll())
        await second.send(at.enroll(OTHER_STUDENT))
        await asyncio.sleep(0.02)
        assert await second.silence(), "the second may not overtake the first"
        at.gateway.go.set()
        assert [(await second.answer())[0], (await second.answer())[0]] == [201, 201]


@pytest.mark.parametrize(
    ("odd", "status"),
    [
        ("Transfer-Encoding: chunked\r\n", 400),  # and a length
        ("Connection: close\r\n", 503),
        ("Expect: 100-continue\r\n", 503),
        ("Content-Length: 16\r\n", 400),
        ("X-Folded: a\n b\r\n", 400),
    ],
)
async def test_what_is_odd_is_left_to_the_parser(odd: str, status: int) -> None:
    async with door(in_flight_max=1) as at, at.wire() as first, at.wire() as second:
        await first.send(at.enroll())
        await at.filled(1)
        await second.send(at.enroll(OTHER_STUDENT, extra=odd))
        answered = (await second.answer(skip=b"HTTP/1.1 100 Continue\r\n\r\n"))[0]
        assert answered == status
        assert at.app[SHEDDING].refusals.counts.total() == (status == 503), "refused by its handler, once"
        at.gateway.go.set()


CHUNKS = b"10\r\n" + BODY + b"\r\n0\r\n\r\n"
SPELLINGS: dict[str, Callable[[bytes], list[bytes]]] = {
    "plain": lambda plain: [plain],
    "a query string": lambda plain: [plain.replace(b"enrollments HTTP", b"enrollments? HTTP")],
    "absolute form": lambda plain: [plain.replace(b"/api", b"http://x/api", 1)],
    "a head in two parts": lambda plain: [plain[:60], plain[60:]],
    "a line break before it": lambda plain: [b"\r\n" + plain],
    "Connection: close": lambda plain: [plain.replace(b"Host: x", b"Host: x\r\nConnection: close")],
    "a length of something else": lambda plain: [plain.replace(b"Host: x", b"Host: x\r\nX-Content-Length: 1")],
    "chunked": lambda plain: [
        plain.replace(b"Content-Length: 16", b"Transfer-Encoding: chunked").replace(BODY, CHUNKS)
    ],
    "pipelined": lambda plain: [b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n" + plain],
    "after an odd one": lambda plain: [b"\r\nGET /health HTTP/1.1\r\nHost: x\r\n\r\n", plain],
    "HTTP/1.0": lambda plain: [plain.replace(b"HTTP/1.1", b"HTTP/1.0")],
    "a space more": lambda plain: [plain.replace(b"Content-Length: ", b"Content-Length:  ")],
    "a client that expects": lambda plain: [plain.replace(b"Host: x", b"Host: x\r\nExpect: 100-continue")],
    "two X-Forwarded-For": lambda plain: [
        plain.replace(b"Host: x", b"Host: x\r\nX-Forwarded-For: 1.2.3.4\r\nX-Forwarded-For: 1.2.3.4")
    ],
}


@pytest.mark.parametrize("spelling", SPELLINGS)
async def test_no_spelling_of_an_enrolment_gets_in_where_there_is_no_room(spelling: str) -> None:
    async with door(in_flight_max=1) as at, at.wire() as first, at.wire() as second:
        await first.send(at.enroll())
        await at.filled(1)
        for part in SPELLINGS[spelling](at.enroll(OTHER_STUDENT)):
            await second.send(part)
        status, headers, body = await second.answer(skip=b"HTTP/1.1 100 Continue\r\n\r\n")
        if body == {"status": "ok"}:
            status, headers, body = await second.answer()

        assert (status, body["code"]) == (503, "overloaded")
        assert headers["retry-after"] in {"1", "2", "3"}
        assert at.app[SHEDDING].refusals.counts == {"overloaded": 1}
        assert len(at.gateway.commands) == 1
        assert at.app[SHEDDING].admission.in_flight == 1
        at.gateway.go.set()


@pytest.mark.parametrize("spelling", SPELLINGS)
async def test_every_spelling_of_an_enrolment_takes_room_until_it_is_decided(spelling: str) -> None:
    async with door(in_flight_max=5) as at, at.wire() as wire, at.wire() as other:
        for part in SPELLINGS[spelling](at.enroll(OTHER_STUDENT)):
            await wire.send(part)
        await at.filled(1)
        assert at.app[SHEDDING].admission.in_flight == 1, "neither none nor twice"
        at.gateway.go.set()
        await other.send(at.enroll())
        assert (await other.answer())[0] == 201
        await asyncio.sleep(0.02)
        assert at.app[SHEDDING].admission.in_flight == 0


async def test_who_is_turned_away_does_not_fill_the_log() -> None:
    async with door(in_flight_max=1) as at, at.wire() as first, at.wire() as second:
        await first.send(at.enroll())
        await at.filled(1)
        with structlog.testing.capture_logs() as logged:
            for _ in range(3):
                await second.send(at.enroll(OTHER_STUDENT, line="POST /api/enrollments? HTTP/1.1"))
                assert (await second.answer())[0] == 503
        assert [one["event"] for one in logged] == []
        at.gateway.go.set()


async def test_half_a_body_in_chunks_takes_nobodys_room() -> None:
    async with door(in_flight_max=1) as at, at.wire() as slow, at.wire() as quick:
        (chunked,) = SPELLINGS["chunked"](at.enroll(OTHER_STUDENT))
        await slow.send(chunked[:-9])
        await quick.send(at.enroll())
        await at.filled(1)
        assert at.app[SHEDDING].admission.in_flight == 1
        await slow.send(chunked[-9:])
        await at.filled(2)
        assert at.app[SHEDDING].admission.in_flight == 2, "it was let in before there was no room"
        at.gateway.go.set()
        assert [(await quick.answer())[0], (await slow.answer())[0]] == [201, 201]
        await asyncio.sleep(0.02)
        assert at.app[SHEDDING].admission.in_flight == 0


async def test_a_body_that_ends_after_its_answer_takes_no_room() -> None:
    async with door() as at, at.wire() as wire:
        (chunked,) = SPELLINGS["chunked"](at.enroll().replace(b"Bearer ", b"Basic "))
        await wire.send(chunked[:-9])
        assert (await wire.answer())[0] == 401
        await wire.send(chunked[-9:])
        assert at.app[SHEDDING].admission.in_flight == 0


@pytest.mark.parametrize("spelling", ["plain", "a query string"])
async def test_a_flooder_is_told_so_where_there_is_no_room_however_the_request_is_spelt(spelling: str) -> None:
    async with door(in_flight_max=1) as at, at.wire() as first, at.wire() as flood:
        await first.send(at.enroll())
        await at.filled(1)
        request = at.enroll(OTHER_STUDENT)
        at.app[FLOODERS].add(request.partition(b"Authorization: ")[2].partition(b"\r\n")[0].decode(), 60.0)
        for part in SPELLINGS[spelling](request):
            await flood.send(part)
        assert (await flood.answer())[0] == 429
        assert at.app[SHEDDING].refusals.counts == {"rate_limited": 1}
        at.gateway.go.set()


NOT_HTTP = {
    "Transfer-Encoding, folded": b"X: y\r\n Transfer-Encoding: chunked",
    "folded with a tab": b"X: y\r\n\tz",
    "a bare CR": b"X: y\rz",
    "a bare CR before a name": b"X: y\r\rZ: z",
    "NUL": b"X: a\0b",
    "an escape": b"X: a\x1bb",
    "DEL": b"X: a\x7fb",
    "VT before a name": b"\x0bX: y",
    "NUL before a name": b"\0X: y",
    "a space in a name": b"X Y: z",
    "a space before the colon": b"X : y",
    "no name": b": y",
    "a byte of 0x80 in a name": b"X\x80: y",
    "brackets in a name": b"X(y): z",
    "no colon": b"nonsense",
    "two hosts": b"Host: y",
    "two content types": b"Content-Type: application/json",
    "two user agents": b"User-Agent: x\r\nUser-Agent: x",
    "141 headers": b"\r\n".join(b"X-%d: y" % number for number in range(137)),
    "an old handshake": b"Sec-WebSocket-Key1: x",
}


def spoilt(plain: bytes, line: bytes) -> bytes:
    return plain.replace(b"Host: x", b"Host: x\r\n" + line)


@pytest.mark.parametrize("has_room", [True, False], ids=["served", "turned away"])
@pytest.mark.parametrize("name", [*NOT_HTTP, "no host"])
async def test_what_is_not_http_is_400_and_the_end_of_its_connection(name: str, has_room: bool) -> None:
    async with door(in_flight_max=1) as at, at.wire() as first, at.wire() as second:
        if not has_room:
            await first.send(at.enroll())
            await at.filled(1)
        plain = at.enroll(OTHER_STUDENT)
        await second.send(plain.replace(b"Host: x\r\n", b"") if name == "no host" else spoilt(plain, NOT_HTTP[name]))
        assert (await second.answer())[0] == 400
        assert await second.is_closed()
        assert at.app[SHEDDING].refusals.counts == {}
        at.gateway.go.set()


@pytest.mark.parametrize("has_room", [True, False], ids=["served", "turned away"])
@pytest.mark.parametrize(
    "line",
    [
        b"Connection: close",
        b"Connection: keep-alive\r\nConnection: close",
        b"Connection: keep-alive, close",
        b"connection:close",
        b"Proxy-Connection: close",
    ],
)
async def test_who_asks_for_it_is_closed(line: bytes, has_room: bool) -> None:
    async with door(in_flight_max=1) as at, at.wire() as first, at.wire() as second:
        if has_room:
            at.gateway.go.set()
        else:
            await first.send(at.enroll())
            await at.filled(1)
        await second.send(spoilt(at.enroll(OTHER_STUDENT), line))
        status, headers, _ = await second.answer()
        assert (status, headers["connection"]) == (201 if has_room else 503, "close")
        assert await second.is_closed()
        at.gateway.go.set()


async def test_a_client_that_left_keeps_its_room_until_it_is_decided() -> None:
    async with door(in_flight_max=1) as at, at.wire() as second:
        async with at.wire() as first:
            await first.send(at.enroll())
            await at.filled(1)
        await asyncio.sleep(0.02)
        await second.send(at.enroll(OTHER_STUDENT))
        assert (await second.answer())[0] == 503, "what is under way is under way, whoever waits for it"
        at.gateway.go.set()
        await asyncio.sleep(0.02)
        assert at.app[SHEDDING].admission.in_flight == 0


async def test_a_flood_of_one_student_takes_no_room_from_others() -> None:
    async with door(in_flight_max=4, enrollments_per_s=0.01, enrollments_burst=2) as at:
        at.gateway.go.set()
        async with at.wire() as flood, at.wire() as other:
            request = at.enroll()
            flooded, served = [], []
            for number in range(60):
                await flood.send(request)
                flooded.append(await flood.answer())
                if number % 30 == 0:
                    await other.send(at.enroll(OTHER_STUDENT))
                    served.append((await other.answer())[0])
        assert [status for status, _, _ in flooded] == [201, 201] + [429] * 58
        assert served == [201, 201]
        # One refusal came from the handler; all others, of the same token, from before the parser.
        assert at.app[SHEDDING].refusals.counts["rate_limited"] == 57
        status, headers, body = flooded[-1]
        assert (status, body["code"]) == (429, "rate_limited")
        assert int(headers["retry-after"]) >= 1
        assert {one.student_id for one in at.gateway.commands if isinstance(one, Enroll)} == {1, 2}


async def test_while_the_process_is_about_to_end_every_answer_ends_its_connection() -> None:
    async with door(in_flight_max=1) as at, at.wire() as first, at.wire() as second:
        await first.send(at.enroll())
        await at.filled(1)
        at.app[READINESS].is_draining = True
        await second.send(at.enroll(OTHER_STUDENT))
        refused, refusal_headers, _ = await second.answer()
        at.gateway.go.set()
        status, headers, _ = await first.answer()

        assert (refused, status) == (503, 201)
        assert refusal_headers["connection"] == headers["connection"] == "close"
        assert await second.is_closed()
        assert await first.is_closed()


async def test_a_connection_too_many_gets_one_answer_and_is_closed() -> None:
    async with door(connections_max=1) as at, at.wire() as first:
        await first.send(b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n")
        assert (await first.answer())[0] == 200
        async with at.wire() as second:
            await second.send(b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n")
            status, headers, body = await second.answer()
            assert (status, body["code"], headers["connection"]) == (503, "overloaded", "close")
            assert await second.is_closed()
        await first.send(b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n")
        assert (await first.answer())[0] == 200


async def test_pages_of_an_allowed_origin_can_read_that_they_were_turned_away() -> None:
    origins = ("https://campus.example",)
    async with door(in_flight_max=1, cors_origins=origins) as at, at.wire() as first, at.wire() as second:
        await first.send(at.enroll())
        await at.filled(1)
        await second.send(at.enroll(OTHER_STUDENT, extra="Origin: https://campus.example\r\n"))
        _, headers, _ = await second.answer()
        assert headers["access-control-allow-origin"] == "https://campus.example"
        assert "Retry-After" in headers["access-control-expose-headers"]
        await second.send(at.enroll(OTHER_STUDENT, extra="Origin: https://evil.example\r\n"))
        assert "access-control-allow-origin" not in (await second.answer())[1]


async def test_beyond_the_budget_answers_wait_but_come_and_stay_in_step(monkeypatch: pytest.MonkeyPatch) -> None:
    async with door(in_flight_max=1) as at, at.wire() as first, at.wire() as second:
        await first.send(at.enroll())
        await at.filled(1)
        shedding = at.app[SHEDDING]
        with monkeypatch.context() as patched:
            patched.setattr(shedding.refusal_queue, "_budget", _Empty())
            await second.send(at.enroll(OTHER_STUDENT))
            await second.send(b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n")
            assert await second.silence()
        assert [(await second.answer())[0], (await second.answer())[0]] == [503, 200]
        await second.send(at.enroll(OTHER_STUDENT))
        assert (await second.answer())[0] == 503


class _Empty:
    def take(self) -> bool:
        return False

    def decided(self) -> None:
        pass


async def test_what_was_turned_away_is_in_the_metrics() -> None:
    async with door(in_flight_max=1) as at, at.wire() as first, at.wire() as second:
        await first.send(at.enroll())
        await at.filled(1)
        await second.send(at.enroll())
        await second.answer()
        await second.send(b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n")
        _, _, text = await second.answer()
        assert b'seatline_shed_total{reason="overloaded"} 1.0' in text
        assert b"seatline_admission_in_flight 1.0" in text
