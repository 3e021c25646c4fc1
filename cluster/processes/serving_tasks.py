"""The background tasks of an API process: the outbox relay, and the watch for unattended seats."""

from __future__ import annotations

import asyncio
import logging
import random
from contextlib import ExitStack

import asyncpg

from allocator.model.commands import RecheckHead
from allocator.model.delivery import Envelope
from allocator.ports import CommandGateway
from persistence.outbox.relay import OutboxRelay, Sink
from persistence.queries.unattended import UnattendedSeats

log = logging.getLogger(__name__)

WATCH_INTERVAL_S = 3.0


class ServingTasks:
    """Two loops beside serving.

    Every API process may run them: relays share the work, and a second recheck changes nothing.
    """

    def __init__(self, database_url: str, gateway: CommandGateway, sink: Sink, closing: ExitStack) -> None:
        """Start both loops.

        Args:
            database_url: as asyncpg wants it.
            gateway: takes the rechecks.
            sink: receives the messages of the outbox.
            closing: closed when both have stopped.
        """
        self._gateway = gateway
        self._closing = closing
        self._seats = UnattendedSeats(database_url)
        self._relay = OutboxRelay(database_url, sink)
        self._tasks = [
            asyncio.create_task(self._relay.run(), name="outbox-relay"),
            asyncio.create_task(self._watch_seats(), name="seat-watch"),
        ]

    async def close(self) -> None:
        """Stop both loops."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._seats.close()
        await self._relay.close()
        self._closing.close()

    async def _watch_seats(self) -> None:
        while True:
            await asyncio.sleep(WATCH_INTERVAL_S * random.uniform(0.8, 1.2))  # noqa: S311  (spreads processes out)
            try:
                found = await self._seats.find()
            except (OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
                log.warning("cannot look for unattended seats: %s", error)
                continue
            for section_id, student_id in found:
                await self._gateway.submit(Envelope(RecheckHead(section_id, student_id)))
