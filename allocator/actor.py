"""The Ray shell around a drain loop: bytes in, bytes out, nothing decided here."""

from __future__ import annotations

import asyncio
import contextlib
import uuid
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Protocol

import ray

from allocator.model.delivery import MOVED, Envelope, Reply
from allocator.model.section import SectionState
from allocator.turns.service import SectionService


class Codec(Protocol):
    """Packs what crosses the process boundary: one bytes object for a whole batch."""

    def decode_commands(self, packed: bytes) -> list[tuple[Envelope, float]]:
        """Commands in their envelopes, with their budgets in seconds."""

    def encode_replies(self, replies: Sequence[Reply]) -> bytes:
        """The replies, in the order of the commands."""


@dataclass(frozen=True, slots=True)
class Host:
    """What the shell hosts: the service, its codec, and how to close what the service stands on."""

    service: SectionService
    codec: Codec
    close: Callable[[], Awaitable[None]]


HostBuilder = Callable[[str, str], Awaitable[Host]]
"""Builds a host from the actor's name and the incarnation of this process."""


class StoppedError(Exception):
    """The actor was told to stop and takes nothing more."""


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
        self._codec: Codec | None = None
        self._is_stopped = False
        self._tasks: list[asyncio.Task[None]] = []
        self._last_call_s = 0.0

    async def _ready(self) -> Host:
        """The host, built by the first call after a start or a restart.

        Raises:
            StoppedError: if there will be none any more.
        """
        async with self._starting:
            host = self._host
            if host is None:
                if self._is_stopped:
                    raise StoppedError(self._name)
                host = await self._build(self._name, uuid.uuid4().hex)
                self._tasks.append(asyncio.create_task(host.service.run(), name="drain"))
                self._last_call_s = asyncio.get_running_loop().time()
                if self._idle_exit_s is not None:
                    self._tasks.append(asyncio.create_task(self._exit_when_idle(self._idle_exit_s)))
                self._host = host
                self._codec = host.codec
        return host

    async def submit(self, packed: bytes) -> bytes:
        """Decide a batch of commands. Once stopped, it sends them where the directory says."""
        try:
            host = self._host or await self._ready()
        except StoppedError:
            return self._moved(packed)
        self._last_call_s = asyncio.get_running_loop().time()
        replies = await host.service.submit(host.codec.decode_commands(packed))
        return host.codec.encode_replies(replies)

    def _moved(self, packed: bytes) -> bytes:
        if self._codec is None:
            raise StoppedError(self._name)
        return self._codec.encode_replies([MOVED] * len(self._codec.decode_commands(packed)))

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
        return [] if self._is_stopped else (await self._ready()).service.snapshot()

    async def release(self, section_ids: Sequence[int] | None = None) -> None:
        """Let sections go, all if None."""
        if self._is_stopped:
            return
        await (await self._ready()).service.release(section_ids)

    async def hand_over(self, moves: dict[int, str]) -> int:
        """Let sections go to the new owners named; how many of them were active."""
        return 0 if self._is_stopped else await (await self._ready()).service.hand_over(moves)

    async def take(self, section_ids: Sequence[int]) -> int:
        """Activate sections before anybody asks for them; how many became active."""
        return await (await self._ready()).service.take(section_ids)

    async def active_sections(self) -> list[int]:
        """Ids of the sections in memory."""
        return [] if self._is_stopped else (await self._ready()).service.active_sections()

    async def heat(self, top: int) -> SimpleNamespace:
        """The fields of ``ActorHeat``. A controller of another version may know no such class."""
        return SimpleNamespace(**(await self._ready()).service.heat(top)._asdict())

    async def stop(self) -> None:
        """Finish the turn at work, release all sections and close what is open. Later calls are sent elsewhere."""
        self._is_stopped = True
        await self._let_go()

    async def _let_go(self) -> None:
        """All that ``stop`` does, but a later call starts anew."""
        async with self._starting:  # what is being built now is let go too
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
                await self._let_go()
                if self._host is None and not self._starting.locked():  # else a call slipped in and started anew
                    # exit_actor() is only for calls; this task is none. What comes now is retried by its gateway.
                    ray.kill(ray.get_runtime_context().current_actor)
                return
