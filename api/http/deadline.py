"""The deadline of a request, however many things it waits for one after the other."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from aiohttp import web

from allocator.ports import StoreUnavailableError
from api.services import SERVICES


class Deadline:
    """The deadline of one request. Its time runs from when it is made, which is when the whole request is here."""

    def __init__(self, request: web.Request) -> None:
        self._loop = asyncio.get_running_loop()
        self._at = self._loop.time() + request.app[SERVICES].config.request_deadline_s

    @property
    def left_s(self) -> float:
        """The seconds that are left, 0 if the deadline has passed."""
        return max(0.0, self._at - self._loop.time())

    @asynccontextmanager
    async def kept(self) -> AsyncIterator[None]:
        """A context that gives up at the deadline. Only for work that changes no seats.

        Raises:
            StoreUnavailableError: if the work was given up.
        """
        try:
            async with asyncio.timeout_at(self._at):
                yield
        except TimeoutError as error:
            raise StoreUnavailableError("the deadline of the request has passed") from error
