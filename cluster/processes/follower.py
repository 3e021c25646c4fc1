"""Follows the directory: an API process asks the controller for newer views, and keeps the last one."""

from __future__ import annotations

import asyncio
import logging
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import ray
import ray.exceptions

from cluster.config.settings import Placement
from cluster.control.names import CONTROLLER
from cluster.gateway.directory import DirectoryView
from cluster.gateway.ray_actors import NAMESPACE
from cluster.processes.node import OpenGateway

log = logging.getLogger(__name__)

POLL_S = 10.0
MARGIN_S = 5.0
FIND_TIMEOUT_S = 5.0
PAUSE_S = 0.1
PAUSE_MAX_S = 2.0
FIRST_VIEW_S = 50.0

AWAY = (ray.exceptions.RayError, ValueError, TimeoutError, OSError)
"""The controller cannot be found or does not answer. ValueError: nobody has its name."""


class DirectoryFollower:
    """Keeps the directory of a gateway up to date until closed. Without a controller, the last view stays in use."""

    def __init__(self, opened: OpenGateway) -> None:
        self._opened = opened
        self._handle: Any = None
        self._first = asyncio.Event()
        self._threads = ThreadPoolExecutor(max_workers=1, thread_name_prefix="controller-lookup")
        self._following = asyncio.create_task(self._follow(), name="directory")

    async def first_view(self) -> None:
        """Wait for the first view.

        Raises:
            TimeoutError: if none comes in time.
        """
        async with asyncio.timeout(FIRST_VIEW_S):
            await self._first.wait()

    async def stats(self, timeout_s: float = 0.5) -> list[dict[str, Any]]:
        """Figures of the controller, if it answers in time."""
        if self._handle is None:
            return []
        try:
            async with asyncio.timeout(timeout_s):
                return [await self._handle.stats.remote()]
        except AWAY:
            return []

    async def drain_this_node(self, reason: str) -> None:
        """Have the controller drain the node of this process.

        Raises:
            TimeoutError: if the controller does not answer, or no other node could serve.
        """
        node_id = ray.get_runtime_context().get_node_id()
        try:
            handle = self._handle or await self._find()
            async with asyncio.timeout(MARGIN_S):
                if await handle.drain.remote(node=node_id, reason=reason) is None:
                    raise TimeoutError("no other node could serve instead")
        except AWAY as error:
            raise TimeoutError(f"the controller cannot drain this node: {error}") from error

    async def close(self) -> None:
        """Stop following."""
        self._following.cancel()
        await asyncio.gather(self._following, return_exceptions=True)
        self._threads.shutdown(wait=False, cancel_futures=True)

    async def _follow(self) -> None:
        pause_s = PAUSE_S
        while True:
            try:
                await self._take_newer()
            except AWAY as error:
                if pause_s == PAUSE_S:
                    log.warning("the controller does not answer: %s", str(error).partition("\n")[0])
                self._handle = None
                await asyncio.sleep(pause_s)
                pause_s = min(pause_s * 2, PAUSE_MAX_S)
            else:
                pause_s = PAUSE_S

    async def _take_newer(self) -> None:
        handle = self._handle or await self._find()
        version = self._opened.directory.view.version
        async with asyncio.timeout(POLL_S + MARGIN_S):
            view = await handle.watch.remote(version=version, timeout_s=POLL_S)
        if view is not None:
            self._opened.update_directory(
                DirectoryView(view.version, Placement(view.placement), tuple(view.pooled), dict(view.pins))
            )
            self._first.set()

    async def _find(self) -> Any:
        loop = asyncio.get_running_loop()
        async with asyncio.timeout(FIND_TIMEOUT_S):
            self._handle = await loop.run_in_executor(
                self._threads, lambda: ray.get_actor(CONTROLLER, namespace=NAMESPACE)
            )
        return self._handle
