"""Calls to actors that change nothing when they are made again, made until one is heard."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

import ray.exceptions

T = TypeVar("T")

PAUSE_S = 0.1


async def ask_until_heard(call: Callable[[], Awaitable[T]], timeout_s: float) -> T:
    """What the call answers. One that is lost on its way, or whose answer is, is made again.

    Raises:
        TimeoutError: if no answer comes in time.
        ray.exceptions.RayError: if the actor cannot answer, now or later.
    """
    async with asyncio.timeout(timeout_s):
        while True:
            try:
                return await call()
            except ray.exceptions.ActorUnavailableError:
                await asyncio.sleep(PAUSE_S)
