"""One connection: aiohttp's protocol, with a look at each request before it is parsed.

A request goes one way down: its bytes are framed (`framing.py`), a request of a hot route is admitted or refused
(`refusals.py`), and the express lane (`express_lane.py`) or aiohttp gets it. The answer goes one way back: it is
written. In which order that can be, `connection_state.py` says.

A refused request is answered without parser, task or handler: a few microseconds instead of a hundred. That is done
only while nothing else is under way on the connection, and only if it is certain where the request ends. Everything
else goes to aiohttp, and a connection that ever sent something odd is left to aiohttp for good. So an answer never
overtakes another, and no byte is read twice or not at all.
"""

from __future__ import annotations

from functools import partial
from typing import Any, assert_never

from aiohttp import web
from aiohttp.web_request import BaseRequest

from api.edge.connection_state import TRANSITIONS, Event, ImpossibleTransitionError, State
from api.edge.error_answers import ErrorAnswers, PoliteConnection
from api.edge.express_lane import ExpressLane
from api.edge.framing import Frame, is_plain, read_frame
from api.edge.hot_routes import HotRoute
from api.edge.shedding import DECIDED, LoadShedding

CLOSING = b"\r\nConnection: close\r\n\r\n"


class EdgeConnection(PoliteConnection):
    """One connection.

    Args:
        manager: the server that it belongs to.
        shedding, lane, error_answers: of the application.
        options: those of aiohttp's protocol.
    """

    __slots__ = (
        "_early",
        "_entered_at",
        "_enters_when_whole",
        "_lane",
        "_left",
        "_refusal",
        "_shedding",
        "_state",
    )

    def __init__(
        self,
        manager: web.Server,
        shedding: LoadShedding,
        lane: ExpressLane,
        error_answers: ErrorAnswers,
        **options: Any,
    ) -> None:
        super().__init__(manager, error_answers, **options)
        self._shedding = shedding
        self._lane = lane
        self._state: State = "idle"
        self._left = 0  # receiving, answered early, refused early: bytes of the request that are still to come
        self._enters_when_whole = False  # receiving: whether the request was admitted
        self._refusal = b""  # refused early: the answer
        self._early = b""  # admitted, express, refused: what came before the answer was written
        self._entered_at: float | None = None  # set while an admitted request is under way

    @property
    def was_admitted(self) -> bool:
        """Whether the request that is being handled was admitted, or will be once all of it is here."""
        return self._entered_at is not None or (self._state == "receiving" and self._enters_when_whole)

    # Down: from bytes to a handler

    def data_received(self, data: bytes) -> None:
        """Do with bytes from the client what the state says."""
        match self._state:
            case "idle":
                self._begin(data)
            case "left to aiohttp":
                super().data_received(data)
            case "receiving" | "answered early":
                self._pass_on_body(data)
            case "handled":
                self._leave_to_aiohttp(data)
            case "admitted" | "express" | "refused":
                self._keep(data)
            case "refused early":
                self._swallow(data)
            case _:
                assert_never(self._state)

    def _begin(self, data: bytes) -> None:
        """A request begins. As a rule all of it is here."""
        frame = read_frame(data)
        if frame is None or frame.length < len(data) or self.has_backlog():
            self._leave_to_aiohttp(data)
            return
        left = frame.length - len(data)
        for route in self._lane.hot_routes:
            if data.startswith(route.first_bytes) and not self.writing_paused:
                break
        else:
            self._pass_on(data, left, is_admitted=False)
            return
        if route.needs_admission:
            refusals = self._shedding.refusals
            refusal = refusals.of_unparsed(data, frame.head)
            if refusal is not None:
                if is_plain(frame.head):
                    self._refuse(refusals.answer(refusal, data, frame.head), left)
                else:
                    self._leave_to_aiohttp(data)  # it refuses what is no HTTP; the rest is refused in the handler
                return
        if left:
            self._pass_on(data, left, is_admitted=route.needs_admission)
        elif route.needs_admission:
            self._wait_to_enter(data, frame, route)
        else:
            self._offer(data, frame, route)

    def _wait_to_enter(self, data: bytes, frame: Frame, route: HotRoute) -> None:
        """An admitted request waits for a moment, so that those who are refused need not wait for it."""
        self._move("admitted")
        self._entered_at = self._shedding.admission.enter()
        self._shedding.entry_queue.add(partial(self._offer, data, frame, route))

    def _offer(self, data: bytes, frame: Frame, route: HotRoute) -> None:
        """A whole request of a hot route: to the express lane, or to its usual handler if the lane declines it."""
        if not self.parse_asleep(data):
            self._no_request()
            return
        message = self.take_parsed()
        if message is None:
            self._move("whole parsed")
            self.wake()
            self._read_early()
            return
        self._move("offered")  # before it is taken, since the answer may come at once
        if not self._lane.take(route, message, data[len(frame.head) + 2 :], self):
            self.hand_back()

    def hand_back(self) -> None:
        """See ``api.http.express.ExpressClient``."""
        self._move("handed back")
        self.give_back()
        self._read_early()
        self.wake()
        self.end_wait_of_shutdown()  # nobody is there any more to handle it

    def _pass_on(self, data: bytes, left: int, *, is_admitted: bool) -> None:
        """A request that is not for the express lane, or not all here: to its usual handler."""
        super().data_received(data)
        if not self.has_parsed():
            self._no_request()
            return
        self._left, self._enters_when_whole = left, is_admitted
        self._move("head parsed" if left else "whole parsed")

    def _pass_on_body(self, data: bytes) -> None:
        self._left -= len(data)
        super().data_received(data)
        if self._left > 0:
            return
        if self._enters_when_whole and self._state == "receiving":
            # Only now, so that who sends half a body takes nobody's room.
            self._entered_at = self._shedding.admission.enter()
        self._move("body ended" if self._left == 0 else "odd")

    def _leave_to_aiohttp(self, data: bytes) -> None:
        """Something odd. Without data it is only aiohttp that goes on with what it holds."""
        if data:
            self._move("odd")
        super().data_received(data)

    def _no_request(self) -> None:
        """The parser saw no request where we saw one, and it is the parser that is right."""
        self._move("odd")
        self._leave(was_decided=False)
        self._read_early()

    # Beside: what is refused, and what comes too early

    def _refuse(self, refusal: bytes, left: int) -> None:
        if left:
            self._left, self._refusal = left, refusal  # not before the whole request is here
            self._move("refused before its end")
        elif self._shedding.refusal_queue.may_answer_now():
            self.answer(refusal)
        else:
            self._move("refusal delayed")
            self._shedding.refusal_queue.answer_later(self, refusal)

    def _swallow(self, data: bytes) -> None:
        left = self._left
        if len(data) < left:
            self._left -= len(data)
            return
        self._refuse(self._refusal, 0)
        if len(data) > left:
            self.data_received(data[left:])

    def _keep(self, data: bytes) -> None:
        """Sent before its time: the answer to the request before is still due."""
        self._early += data
        if self.transport is not None:
            self.transport.pause_reading()

    def _read_early(self) -> None:
        early, self._early = self._early, b""
        if early and self.transport is not None:
            self.transport.resume_reading()
            self.data_received(early)

    # Back: from an answer to bytes

    def answer_express(self, status: int, answer: bytes) -> None:
        """See ``api.http.express.ExpressClient``."""
        self.done_with_taken()
        self._leave(was_decided=status in DECIDED)
        self.answer(answer)

    def answer(self, answer: bytes) -> None:
        """Write an answer that is not aiohttp's, and go on with what came after its request."""
        self._move("answered")
        transport = self.transport
        if transport is None:
            self._early = b""
        elif self._lane.readiness.is_draining:
            # As the handlers do (`api/http/middleware.py`): no client may find it closed with its next request.
            self._early = b""
            transport.write(answer.replace(b"\r\n\r\n", CLOSING, 1))
            transport.close()
        else:
            transport.write(answer)
            self.begin_keepalive()
            if self._early:
                self._read_early()

    async def finish_response(
        self, request: BaseRequest, resp: web.StreamResponse, start_time: float | None
    ) -> tuple[web.StreamResponse, bool]:
        """Called by aiohttp when an answer is there; also if nobody is there any more to get it."""
        try:
            return await super().finish_response(request, resp, start_time)
        finally:
            self._move("answered")
            self._leave(was_decided=getattr(resp, "status", 0) in DECIDED)

    def connection_lost(self, exc: BaseException | None) -> None:
        """A request under way goes on without its client, and makes room only when it is done."""
        task = self.handler_task()
        super().connection_lost(exc)
        if self._state == "express":
            return  # it makes room when it is answered
        if task is None or task.done():
            self._leave(was_decided=False)
        else:
            task.add_done_callback(lambda _: self._leave(was_decided=False))

    def _leave(self, *, was_decided: bool) -> None:
        """The request is answered, or nobody will answer it: if it was let in, it makes room."""
        entered_at, self._entered_at = self._entered_at, None
        if entered_at is not None:
            self._shedding.leave(entered_at, was_decided=was_decided)

    def _move(self, event: Event) -> None:
        try:
            self._state = TRANSITIONS[self._state][event]
        except KeyError:
            raise ImpossibleTransitionError(self._state, event) from None
