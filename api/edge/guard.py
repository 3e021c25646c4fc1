"""Admission for requests at which the edge could not look: chunked, pipelined, in odd spellings, of HTTP/1.0.

The connection asks admission for plain requests, before they are parsed. All others come to their handler unasked, and
admission is asked here. So there is no spelling of an enrolment that gets in when there is no room.
"""

from __future__ import annotations

from aiohttp import hdrs, web
from aiohttp.typedefs import Handler

from api.edge.connection import EdgeConnection
from api.edge.shedding import DECIDED, SHEDDING, LoadShedding
from api.http.errors import ApiError
from api.monitoring.answered import WAS_SHED


class Visit:
    """The room that one request takes, from when all of its body is here until it is answered.

    Args:
        shedding: of the application.
    """

    __slots__ = ("_entered_at", "_has_ended", "_shedding")

    def __init__(self, shedding: LoadShedding) -> None:
        self._shedding = shedding
        self._entered_at: float | None = None
        self._has_ended = False

    def begin(self) -> None:
        """The body is here, perhaps after the answer."""
        if not self._has_ended:
            self._entered_at = self._shedding.admission.enter()

    def end(self, *, was_decided: bool) -> None:
        """The request is answered."""
        self._has_ended = True
        if self._entered_at is not None:
            self._shedding.leave(self._entered_at, was_decided=was_decided)


def with_admission(handler: Handler) -> Handler:
    """Have requests ask admission before this handler, unless the edge has asked it for them."""

    async def admit(request: web.Request) -> web.StreamResponse:
        connection = request.protocol
        if isinstance(connection, EdgeConnection) and connection.was_admitted:
            return await handler(request)
        shedding = request.app[SHEDDING]
        refusal = shedding.refusals.of_parsed(request.headers.get(hdrs.AUTHORIZATION))
        if refusal is not None:
            shedding.refusals.count(refusal)
            request[WAS_SHED] = True
            raise ApiError(refusal.kind, headers={"Retry-After": str(refusal.retry_after_s)})
        visit = Visit(shedding)
        request.content.on_eof(visit.begin)  # only now, so that who sends half a body takes nobody's room
        status = 0
        try:
            response = await handler(request)
            status = response.status
        except ApiError as error:
            status = error.kind.status
            raise
        finally:
            visit.end(was_decided=status in DECIDED)
        return response

    return admit
