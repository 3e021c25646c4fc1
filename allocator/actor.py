"""The Ray shell around a drain loop: bytes in, bytes out, nothing decided here."""

from __future__ import annotations

import asyncio
import contextlib
import uuid
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import ray

from allocator.commands import Command
from allocator.outcomes import Outcome
from allocator.section import SectionState
from allocator.service import SectionService


class Codec(Protocol):
    """Packs what crosses the process boundary: one bytes object for a whole batch."""

    def decode_commands(self, packed: bytes) -> list[tuple[Command, float]]:
        """Commands with their budgets in seconds."""

    def encode_outcomes(self, outcomes: Sequence[Outcome]) -> bytes:
        """The outcomes, in the order of the commands."""


@dataclass(frozen=True, slots=True)
class Host:
    """What the shell hosts: the service, its codec, and how to close what the service stands on."""

    service: SectionService
    codec: Codec
    close: Callable[[], Awaitable[None]]


HostBuilder = Callable[[str, str], Awaitable[Host]]
"""Builds a host from the actor's name and the incarnation of this process."""


class SectionActor:
    """Holds the sections placed on it. Restarted by Ray under the same name, each time as a new incarnation."""

    def __init__(self, name: str, build: HostBuilder, idle_exit_s: float | None = None) -> None:
        """Remember how to build the host; the event loop does not run yet.

        Args:
            name: the actor's name in the directory.
            build: called once, in this process.
            idle_exit_s: exit after this long without a call; None never.
        """
        self._name = name
        self._build = build
        self._idle_exit_s = idle_exit_s
        self._starting = asyncio.Lock()
        self._host: Host | None = None
        self._tasks: list[asyncio.Task[None]] = []
        self._last_call_s = 0.0

    async def _ready(self) -> Host:
        """The host, built by the first call after a start or a restart."""
        async with self._starting:
            host = self._host
            if host is None:
                host = await self._build(self._name, uuid.uuid4().hex)
                self._tasks.append(asyncio.create_task(host.service.run(), name="drain"))
                self._last_call_s = asyncio.get_running_loop().time()
                if self._idle_exit_s is not None:
                    self._tasks.append(asyncio.create_task(self._exit_when_idle(self._idle_exit_s)))
                self._host = host
        return host

    async def submit(self, packed: bytes) -> bytes:
        """Decide a batch of commands."""
        host = self._host or await self._ready()
        self._last_call_s = asyncio.get_running_loop().time()
        outcomes = await host.service.submit(host.codec.decode_commands(packed))
        return host.codec.encode_outcomes(outcomes)

    async def ping(self) -> str:
        """The name, once the actor is able to work."""
        await self._ready()
        return self._name

    async def stats(self) -> dict[str, object]:
        """Counters, gauges and histograms of the drain loop."""
        service = (await self._ready()).service
        return {
            "actor": self._name,
            "sections": len(service.snapshot()),
            "inbox": service.waiting,
            **service.stats.as_dict(),
        }

    async def snapshot(self) -> list[SectionState]:
        """The active sections as they are in memory."""
        return (await self._ready()).service.snapshot()

    async def release(self, section_ids: Sequence[int] | None = None) -> None:
        """Let sections go, all if None."""
        await (await self._ready()).service.release(section_ids)

    async def stop(self) -> None:
        """Finish the turn at work, release all sections and close what is open. A later call would start anew."""
        host, self._host = self._host, None
        tasks, self._tasks = self._tasks, []
        if host is None:
            return
        await host.service.release()
        for task in tasks:
            if task is not asyncio.current_task():
                task.cancel()
                with contextlib.suppress(asyncio.CancelledError):
                    await task
        await host.close()

    async def _exit_when_idle(self, idle_exit_s: float) -> None:
        loop = asyncio.get_running_loop()
        while True:
            await asyncio.sleep(idle_exit_s / 4)
            idle_s = loop.time() - self._last_call_s
            host = self._host
            if host is not None and not host.service.waiting and idle_s >= idle_exit_s:
                await self.stop()
                if self._host is None and not self._starting.locked():  # else a call slipped in and started anew
                    # exit_actor() is only for calls; this task is none. What comes now is retried by its gateway.
                    ray.kill(ray.get_runtime_context().current_actor)
                return
