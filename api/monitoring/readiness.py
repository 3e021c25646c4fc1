"""Readiness: whether this process can serve, which is what ``/ready`` answers."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from typing import Literal

from aiohttp import web
from msgspec import Struct

from api.ports import Probe

VITAL = frozenset({"postgres", "actors"})
PROBE_TIMEOUT_S = 1.5
REMEMBERED_S = 0.5

ReadinessState = Literal["ok", "degraded", "unavailable", "draining"]


class ReadyReply(Struct, frozen=True):
    """``degraded``: enrolment goes on without a dependency that is away. ``checks`` has ``ok`` or ``away`` for each."""

    status: ReadinessState
    checks: dict[str, Literal["ok", "away"]]


class Readiness:
    """Runs the probes, at most once in ``REMEMBERED_S`` seconds, so that asking for it cannot become a load.

    Args:
        probes: by the names of the dependencies.
    """

    def __init__(self, probes: Mapping[str, Probe]) -> None:
        self._probes = probes
        self._asking: asyncio.Task[ReadyReply] | None = None
        self._asked_at = float("-inf")
        self.is_draining = False
        """Set when the process is about to stop, so that load balancers go elsewhere."""

    async def check(self) -> ReadyReply:
        """The readiness now, or as it was a moment ago."""
        if self.is_draining:
            return ReadyReply("draining", {})
        now = time.monotonic()
        if self._asking is None or (self._asking.done() and now - self._asked_at > REMEMBERED_S):
            self._asked_at = now
            self._asking = asyncio.create_task(self._ask())
        return await asyncio.shield(self._asking)

    async def _ask(self) -> ReadyReply:
        names = list(self._probes)
        well = await asyncio.gather(*(_is_well(self._probes[name]) for name in names))
        away = {name for name, is_well in zip(names, well, strict=True) if not is_well}
        status: ReadinessState = "unavailable" if away & VITAL else "degraded" if away else "ok"
        return ReadyReply(status, {name: "away" if name in away else "ok" for name in names})


READINESS = web.AppKey("READINESS", Readiness)


async def _is_well(probe: Probe) -> bool:
    try:
        async with asyncio.timeout(PROBE_TIMEOUT_S):
            await probe()
    except Exception:  # noqa: BLE001  # whatever it is, the dependency is not well
        return False
    return True
