"""By when a request must be answered, however many things it waits for, one after the other."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from aiohttp import web

from allocator.ports import StoreUnavailableError
from api.services import SERVICES


class Deadline:
    """Begins when it is made: once the whole request is here."""

    def __init__(self, request: web.Request) -> None:
        self._loop = asyncio.get_running_loop()
        self._at = self._loop.time() + request.app[SERVICES].config.request_deadline_s

    @property
    def left_s(self) -> float:
        """Seconds that are left, 0 if it has passed."""
        return max(0.0, self._at - self._loop.time())

    @asynccontextmanager
    async def kept(self) -> AsyncIterator[None]:
        """Give up at the deadline what is awaited here and changes no seats.

        Raises:
            StoreUnavailableError: if it was given up.
        """
        try:
            async with asyncio.timeout_at(self._at):
                yield
        except TimeoutError as error:
            raise StoreUnavailableError("the deadline of the request has passed") from error
