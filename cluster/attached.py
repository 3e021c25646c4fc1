"""The way of a command to the controller of a Seatline that runs already, here or on a cluster.

Ray itself is imported by deployment.py alone, which first says how.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any

from cluster import deployment
from cluster.runfile import RunFile, read_run_file
from cluster.settings import Settings

CONNECT_TIMEOUT_S = 20.0
CALL_TIMEOUT_S = 10.0

NOT_HERE = "no Seatline runs here: start one (`seatline up`), or set RAY_ADDRESS to the cluster that it runs on"
NO_CONTROLLER = (
    "Ray answers, but no controller runs there. Serving goes on without one; `seatline serve` starts another, "
    "`seatline doctor` looks at the rest"
)


class AttachedController:
    """A controller, called with deadlines."""

    def __init__(self, handle: Any) -> None:
        self.handle = handle

    async def call(self, method: str, *arguments: object, timeout_s: float = CALL_TIMEOUT_S) -> Any:
        """What a method of ``ControllerActor`` answers.

        Raises:
            ConnectionError: if it does not answer in time.
        """
        try:
            async with asyncio.timeout(timeout_s):
                return await getattr(self.handle, method).remote(*arguments)
        except (deployment.RayError, TimeoutError) as error:
            first_line = str(error).partition("\n")[0] or type(error).__name__
            raise ConnectionError(f"the controller does not answer: {first_line}") from error


@asynccontextmanager
async def attached_controller(settings: Settings) -> AsyncIterator[AttachedController]:
    """The controller of the Seatline of this home, else of the cluster at ``RAY_ADDRESS``.

    Raises:
        ConnectionError: that says what is missing.
    """
    run = read_run_file(settings.home)
    address = run.ray_address if run is not None else settings.ray_address
    if address is None:
        raise ConnectionError(NOT_HERE)
    try:
        async with asyncio.timeout(CONNECT_TIMEOUT_S):
            await _connect(address, run)
            handle = await asyncio.to_thread(deployment.find_controller)
    except (deployment.RayError, RuntimeError, TimeoutError) as error:
        first_line = str(error).partition("\n")[0] or "no answer in time"
        raise ConnectionError(f"Ray at {address} cannot be reached: {first_line}") from error
    if handle is None:
        raise ConnectionError(NO_CONTROLLER)
    try:
        yield AttachedController(handle)
    finally:
        with suppress(deployment.RayError):
            await deployment.stop_ray()


async def _connect(address: str, run: RunFile | None) -> None:
    if run is not None and run.ray_token_path is not None:
        os.environ["RAY_AUTH_TOKEN_PATH"] = run.ray_token_path
    await deployment.connect_to_ray(address, lambda _step, _seconds: None)
