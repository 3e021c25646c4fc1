"""Connects a command to the controller of a running Seatline, here or on a cluster.

Only deployment.py imports Ray, as it first sets the environment that Ray reads.
"""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from typing import Any, TypeVar

# Nodes wait minutes for another head, a command does not. Must be set before Ray is imported.
os.environ.setdefault("RAY_gcs_rpc_server_reconnect_timeout_s", "60")

from cluster.config.runfile import RunFile, read_run_file
from cluster.config.settings import Settings
from cluster.processes import deployment

T = TypeVar("T")

CONNECT_TIMEOUT_S = 20.0
CALL_TIMEOUT_S = 10.0
LISTENS_TIMEOUT_S = 3.0

NOT_HERE = "no Seatline runs here: start one (`seatline up`), or set RAY_ADDRESS to the cluster that it runs on"
NO_CONTROLLER = (
    "Ray answers, but no controller runs there. Serving goes on without one; `seatline serve` starts another, "
    "`seatline doctor` looks at the rest"
)


class AttachedController:
    """The controller, called with deadlines."""

    def __init__(self, handle: Any) -> None:
        self.handle = handle

    async def call(self, method: str, *arguments: object, timeout_s: float = CALL_TIMEOUT_S) -> Any:
        """Call a method of ``ControllerActor`` and return its answer.

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
        ConnectionError: saying what is missing.
    """
    run = read_run_file(settings.home)
    address = run.ray_address if run is not None else settings.ray_address
    if address is None:
        raise ConnectionError(NOT_HERE)
    await _require_listener(address)
    try:
        async with asyncio.timeout(CONNECT_TIMEOUT_S):
            await _in_daemon_thread(lambda: _connect(address, run))
            handle = await _in_daemon_thread(deployment.find_controller)
    except (deployment.RayError, RuntimeError, TimeoutError) as error:
        first_line = str(error).partition("\n")[0] or "no answer in time"
        raise ConnectionError(f"Ray at {address} cannot be reached: {first_line}") from error
    if handle is None:
        raise ConnectionError(NO_CONTROLLER)
    try:
        yield AttachedController(handle)
    finally:
        with suppress(deployment.RayError, TimeoutError):
            async with asyncio.timeout(CALL_TIMEOUT_S):
                await _in_daemon_thread(deployment.disconnect)


async def _require_listener(address: str) -> None:
    """Raise ``ConnectionError`` if nothing listens at ``address``. Ray would end the whole process."""
    host, _, port = address.rpartition(":")
    if not port.isdecimal():
        return  # such as `auto`: Ray searches for a cluster, and raises if it finds none
    try:
        async with asyncio.timeout(LISTENS_TIMEOUT_S):
            _, writer = await asyncio.open_connection(host.strip("[]"), int(port))
        writer.close()
    except (OSError, TimeoutError) as error:
        raise ConnectionError(f"nothing answers at {address}: is Ray running there? RAY_ADDRESS names it") from error


def _connect(address: str, run: RunFile | None) -> None:
    if run is not None and run.ray_token_path is not None:
        os.environ["RAY_AUTH_TOKEN_PATH"] = run.ray_token_path
    deployment.connect(address=address)


async def _in_daemon_thread(work: Callable[[], T]) -> T:
    """Run ``work`` in a daemon thread.

    Calls of Ray may hang for long if nothing answers, and the threads of asyncio would keep the process alive.
    """
    loop = asyncio.get_running_loop()
    done: asyncio.Future[T] = loop.create_future()

    def conclude(result: T | None, error: BaseException | None) -> None:
        if done.done():
            return
        if error is not None:
            done.set_exception(error)
        else:
            done.set_result(result)  # type: ignore[arg-type]

    def run() -> None:
        result, failure = None, None
        try:
            result = work()
        except BaseException as error:  # noqa: BLE001  # it is raised where it is awaited
            failure = error
        with suppress(RuntimeError):  # nobody waits any more
            loop.call_soon_threadsafe(conclude, result, failure)

    threading.Thread(target=run, daemon=True).start()
    return await done
