"""Sends an import's commands to the owners of the sections: to the Seatline that runs, else to one in this process."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Sequence

from allocator.model.commands import StaffCommand
from allocator.model.delivery import Envelope, Reply
from cluster.cli.common import Urls
from cluster.config.runfile import read_run_file
from cluster.config.settings import Settings, plain_postgres_url
from cluster.gateway.directory import Directory
from persistence.imports.load.seat_changes import SendCommands, deciding_here

VIEW_TIMEOUT_S = 5.0
DEADLINE_S = 30.0
AT_ONCE = 200


@contextlib.asynccontextmanager
async def seat_commands(settings: Settings, urls: Urls) -> AsyncIterator[SendCommands]:
    """What ``load`` sends commands by. Nothing is connected before the first command.

    Raises:
        ConnectionError: from the first command on, if a Seatline runs but its controller cannot be reached.
    """
    async with contextlib.AsyncExitStack() as opened:
        way: SendCommands | None = None

        async def send(commands: Sequence[StaffCommand]) -> Sequence[Reply]:
            nonlocal way
            if way is None:
                runs = read_run_file(settings.home) is not None or settings.ray_address is not None
                owner = _running_seatline(settings, urls) if runs else deciding_here(urls.database_url)
                way = await opened.enter_async_context(owner)
            return await way(commands)

        yield send


@contextlib.asynccontextmanager
async def _running_seatline(settings: Settings, urls: Urls) -> AsyncIterator[SendCommands]:
    """The section actors of the Seatline that runs, each section at the one that owns it."""
    from cluster.cli.attached import attached_controller  # noqa: PLC0415  (imports Ray, which most imports do not need)
    from cluster.processes.node import NodeConfig  # noqa: PLC0415

    async with attached_controller(settings) as controller:
        view = await controller.call("watch", 0, VIEW_TIMEOUT_S)
        if view is None:
            raise ConnectionError("the controller has not published where sections are yet: try again")
        # A dedicated actor that is started for this must have the rights of those that serve, not the owner's.
        serving_url = settings.database_url
        database_url = plain_postgres_url(serving_url.get_secret_value()) if serving_url else urls.database_url
        gateway, actors = NodeConfig(settings, database_url, urls.redis_url, "").connect(Directory(view))
        at_once = asyncio.Semaphore(AT_ONCE)

        async def one(command: StaffCommand) -> Reply:
            async with at_once:
                return await gateway.submit(Envelope(command), DEADLINE_S)

        async def send(commands: Sequence[StaffCommand]) -> Sequence[Reply]:
            return await asyncio.gather(*(one(command) for command in commands))

        try:
            yield send
        finally:
            await gateway.close()
            actors.close()
