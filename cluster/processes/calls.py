"""Calls to actors that change nothing when they are repeated."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

import ray.exceptions

T = TypeVar("T")

PAUSE_S = 0.1


async def call_until_answered(call: Callable[[], Awaitable[T]], timeout_s: float) -> T:
    """Make a call, and repeat it while it or its answer is lost on the way.

    Returns:
        its answer.

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
