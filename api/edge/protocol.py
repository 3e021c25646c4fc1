"""The protocol of a connection: aiohttp's, with a look at each request before it is parsed.

An enrolment that must be turned away is answered here, without parser, task or handler: a few microseconds instead of
a hundred. Only when nothing else is under way on the connection, and only if it is certain where the request ends
(`api/edge/framing.py`); everything else takes the usual way, and a connection that ever sent something odd is left to
aiohttp for good. So an answer never overtakes another, and no byte is read twice or not at all.

An enrolment that is let in, and a look at a section, take the express lane (`api/edge/express.py`) if the parser found
nothing odd in them.
"""

from __future__ import annotations

import asyncio
from typing import Any, cast

from aiohttp import web
from aiohttp.http_parser import RawRequestMessage
from aiohttp.web_protocol import RequestHandler
from aiohttp.web_request import BaseRequest

from api.edge.express import Express
from api.edge.framing import Frame, read_frame
from api.edge.shedding import Shedder

ENROLL_LINE = b"POST /api/enrollments HTTP/1.1\r\n"
SECTION_LINE = b"GET /api/sections/"
TELLING = frozenset({201, 409, 503})
"""Statuses of answers that waited for a decision: how long they took says how long the queue is."""
TURN_AWAY_TIMEOUT_S = 5.0
CLOSING = b"\r\nConnection: close\r\n\r\n"


class SheddingProtocol(RequestHandler):
    """One connection."""

    __slots__ = (
        "_body_left",
        "_by_express",
        "_came_early",
        "_entered_at",
        "_express",
        "_is_enrollment",
        "_is_plain",
        "_is_under_way",
        "_shedder",
        "_swallowing",
    )

    def __init__(self, manager: web.Server, shedder: Shedder, express: Express, **options: Any) -> None:
        super().__init__(manager, **options)
        self._shedder = shedder
        self._express = express
        self._by_express: Any = None  # the request that the express lane has
        self._is_plain = True  # every request so far was one whose end we knew
        self._body_left = 0  # of the request that the parser reads
        self._came_early: bytes | None = None  # set while an answer is due later
        self._swallowing: tuple[bytes, int] | None = None  # an answer, and how much of its request is to come
        self._is_enrollment = False  # the request that is being received
        self._is_under_way = False  # a request whose answer is not written yet
        self._entered_at: float | None = None

    def data_received(self, data: bytes) -> None:
        """Turn away, or hand on."""
        if self._came_early is not None:
            self._keep(data)
        elif self._swallowing is not None:
            self._swallow(data)
        elif not self._is_plain or not data:
            super().data_received(data)
        elif self._body_left:
            self._hand_on_body(data)
        elif self._is_under_way or self._messages or self._upgraded:
            self._give_up(data)  # pipelining
        else:
            self._look(data)

    def _look(self, data: bytes) -> None:
        frame = read_frame(data)
        if frame is None or frame.length < len(data):
            self._give_up(data)
            return
        if data.startswith(ENROLL_LINE) and not self.writing_paused:
            refusal = self._shedder.refusal(data, frame.head)
            if refusal is not None:
                self._turn_away(refusal, frame.length - len(data))
                return
            self._is_enrollment = True
        self._body_left = frame.length - len(data)
        if not self._body_left and (self._is_enrollment or data.startswith(SECTION_LINE)) and not self.writing_paused:
            if self._is_enrollment:
                self._take_soon(data, frame)
            else:
                self._take_whole(data, frame)
            return
        super().data_received(data)
        self._note_parsed()

    def _take_soon(self, data: bytes, frame: Frame) -> None:
        """An enrolment that is let in waits for a moment, so that those who are refused need not wait for it."""
        self._entered_at = self._shedder.admission.enter()
        self._is_enrollment = False
        self._came_early = b""

        def take() -> None:
            came_early, self._came_early = self._came_early, None
            self._take_whole(data, frame)
            if not came_early:
                return
            if self._by_express is not None:
                self._came_early = came_early
            elif self.transport is not None:
                self.transport.resume_reading()
                self.data_received(came_early)

        self._shedder.let_in(take)

    def _take_whole(self, data: bytes, frame: Frame) -> None:
        """A request that is all here: by the express lane if it takes it, else to its handler."""
        waiter, self._waiter = self._waiter, None  # the task of this connection sleeps on, unless it is needed
        super().data_received(data)
        self._waiter = waiter
        self._note_parsed()
        if not (self._is_under_way and self._goes_by_express(data[len(frame.head) + 2 :])):
            self._wake()

    def _goes_by_express(self, body: bytes) -> bool:
        message = self._messages[0][0]
        if not isinstance(message, RawRequestMessage) or self._request_in_progress:
            return False
        # Before it is taken, since the answer may come at once.
        self._by_express = self._messages.popleft()
        self._came_early, self._request_in_progress = b"", True
        self._next_keepalive_close_time = self._loop.time() + self._keepalive_timeout
        if self._express.take(message, body, self):
            return True
        self._messages.appendleft(self._by_express)
        self._by_express, self._came_early, self._request_in_progress = None, None, False
        return False

    def answer_express(self, status: int, answer: bytes) -> None:
        """See ``api.edge.express.Client``."""
        self._by_express, self._is_under_way, self._request_in_progress = None, False, False
        if self._parser is not None:
            self._parser.message_consumed()
        self._leave(was_decided=status in TELLING)
        self._end_wait_of_shutdown()
        self.answer(answer)

    def hand_back(self) -> None:
        """See ``api.edge.express.Client``."""
        if self._by_express is not None:
            self._messages.appendleft(self._by_express)
        self._by_express, self._request_in_progress = None, False
        came_early, self._came_early = self._came_early, None
        if came_early and self.transport is not None:
            self.transport.resume_reading()
            self.data_received(came_early)
        self._wake()
        self._end_wait_of_shutdown()  # nobody is there any more to handle it

    def _end_wait_of_shutdown(self) -> None:
        if self._handler_waiter is not None and not self._handler_waiter.done():
            self._handler_waiter.set_result(None)

    def _wake(self) -> None:
        if self._messages and self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    def _note_parsed(self) -> None:
        if not self._messages:  # the parser saw no request here, and it is the parser that is right
            self._is_plain = self._is_enrollment = False
            self._leave(was_decided=False)
            return
        self._is_under_way = True
        if not self._body_left:
            self._enter()

    def _hand_on_body(self, data: bytes) -> None:
        self._body_left -= len(data)
        if self._body_left < 0:
            self._is_plain = False
        super().data_received(data)
        if self._body_left <= 0:
            self._enter()

    def _enter(self) -> None:
        """Count an enrolment as under way once it is whole: who sends half a body takes nobody's room."""
        if self._is_enrollment and self._is_under_way:
            self._entered_at = self._shedder.admission.enter()
        self._is_enrollment = False

    def _give_up(self, data: bytes) -> None:
        self._is_plain = False
        super().data_received(data)

    def _turn_away(self, refusal: bytes, left: int) -> None:
        if left:
            self._swallowing = refusal, left  # not before the whole request is here
        elif self._shedder.may_answer_now():
            self.answer(refusal)
        else:
            self._came_early = b""
            self._shedder.answer_later(self, refusal)

    def answer(self, answer: bytes) -> None:
        """Write an answer that is not aiohttp's, and go on with what came after its request."""
        came_early, self._came_early = self._came_early, None
        transport = self.transport
        if transport is None:
            return
        if self._express.is_draining:
            # As the handlers do (`api/http/middleware.py`): no client may find it closed with its next request.
            transport.write(answer.replace(b"\r\n\r\n", CLOSING, 1))
            transport.close()
            return
        transport.write(answer)
        self._next_keepalive_close_time = self._loop.time() + self._keepalive_timeout
        if came_early:
            transport.resume_reading()
            self.data_received(came_early)

    def _keep(self, data: bytes) -> None:
        """Sent before its time: the answer to the request before is still due."""
        self._came_early = (self._came_early or b"") + data
        if self.transport is not None:
            self.transport.pause_reading()

    def _swallow(self, data: bytes) -> None:
        refusal, left = cast("tuple[bytes, int]", self._swallowing)
        if len(data) < left:
            self._swallowing = refusal, left - len(data)
            return
        self._swallowing = None
        self._turn_away(refusal, 0)
        if len(data) > left:
            self.data_received(data[left:])

    # Leaving

    async def finish_response(
        self, request: BaseRequest, resp: web.StreamResponse, start_time: float | None
    ) -> tuple[web.StreamResponse, bool]:
        """Called by aiohttp when an answer is there; also if nobody is there any more to get it."""
        try:
            return await super().finish_response(request, resp, start_time)
        finally:
            self._is_under_way = False
            self._leave(was_decided=getattr(resp, "status", 0) in TELLING)

    def connection_lost(self, exc: BaseException | None) -> None:
        """A request under way goes on without its client, and makes room only when it is done."""
        task = self._task_handler
        super().connection_lost(exc)
        if self._by_express is not None:
            return  # it leaves when it is answered
        if task is None or task.done():
            self._leave(was_decided=False)
        else:
            task.add_done_callback(lambda _: self._leave(was_decided=False))

    def _leave(self, *, was_decided: bool) -> None:
        entered_at, self._entered_at = self._entered_at, None
        if entered_at is not None:
            self._shedder.decided(entered_at, was_decided=was_decided)


class TurnedAway(asyncio.Protocol):
    """A connection too many: its first request is answered without being read, and it is closed."""

    def __init__(self, answer: bytes) -> None:
        self._answer = answer
        self._timer: asyncio.TimerHandle | None = None
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Wait for a request: closing with unread bytes would reset the connection before its answer is read."""
        self._transport = cast("asyncio.Transport", transport)
        loop = asyncio.get_running_loop()
        self._timer = loop.call_later(TURN_AWAY_TIMEOUT_S, self._transport.abort)

    def data_received(self, data: bytes) -> None:
        """Answer and close."""
        if self._transport is not None and not self._transport.is_closing():
            self._transport.write(self._answer)
            self._transport.close()

    def connection_lost(self, exc: Exception | None) -> None:
        """Gone."""
        if self._timer is not None:
            self._timer.cancel()


class SheddingServer(web.Server):
    """Makes the protocols of new connections, up to a number of them."""

    def __init__(self, server: web.Server, shedder: Shedder, express: Express, connections_max: int) -> None:
        super().__init__(
            server.request_handler, request_factory=server.request_factory, loop=server._loop, **server._kwargs
        )
        self._shedder = shedder
        self._express = express
        self._connections_max = connections_max

    def __call__(self) -> RequestHandler:
        """A protocol for a new connection."""
        if len(self._connections) >= self._connections_max:
            self._shedder.shed["connections"] += 1
            return cast("RequestHandler", TurnedAway(self._shedder.too_many_connections))
        return SheddingProtocol(self, self._shedder, self._express, loop=self._loop, **self._kwargs)


class SheddingRunner(web.AppRunner):
    """An ``AppRunner`` whose server sheds.

    Args:
        shedder, express: of the application.
        connections_max: connections that may be open at once.
        options: those of ``AppRunner``.
    """

    __slots__ = ("_connections_max", "_express", "_shedder")

    def __init__(
        self, app: web.Application, shedder: Shedder, express: Express, connections_max: int, **options: Any
    ) -> None:
        super().__init__(app, **options)
        self._shedder = shedder
        self._express = express
        self._connections_max = connections_max

    async def _make_server(self) -> web.Server:
        return SheddingServer(await super()._make_server(), self._shedder, self._express, self._connections_max)
