"""Watches the metadata of an EC2 instance for a notice that it is about to end: a spot interruption or a scale-in.

Both come about two minutes ahead. It uses IMDSv2, which asks for a session token first. ``SEATLINE_SPOT_WATCH`` turns
it on or off; by default it is on if the machine is an EC2 instance.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from pathlib import Path

from cluster.clients.http import AsyncConnection, HttpReply, Target

log = logging.getLogger(__name__)

INTERVAL_S = 5.0
TIMEOUT_S = 2.0
TOKEN_LIFE_S = 21_600
VENDOR = Path("/sys/devices/virtual/dmi/id/sys_vendor")

SPOT = "/latest/meta-data/spot/instance-action"
LIFECYCLE = "/latest/meta-data/autoscaling/target-lifecycle-state"


def is_ec2(vendor: Path = VENDOR) -> bool:
    """Whether this machine is an EC2 instance."""
    try:
        return vendor.read_text(encoding="ascii", errors="replace").strip() == "Amazon EC2"
    except OSError:
        return False


class SpotWatch:
    """Asks every few seconds, and reports once that the instance is about to end.

    Args:
        url: of the metadata service.
        leave: called with the reason; again after a pause if it raises ``OSError`` or ``TimeoutError``.
        interval_s: between two questions.
    """

    def __init__(self, url: str, leave: Callable[[str], Awaitable[None]], *, interval_s: float = INTERVAL_S) -> None:
        self._target = Target.of(url)
        self._leave = leave
        self._interval_s = interval_s
        self._token = b""

    async def run(self) -> None:
        """Ask until there is a notice and ``leave`` has returned."""
        while True:
            try:
                reason = await self.notice()
                if reason is not None:
                    log.warning("this node is about to end: %s", reason)
                    await self._leave(reason)
                    return
            except (OSError, TimeoutError) as error:
                log.warning("the instance metadata cannot be read: %s", str(error) or type(error).__name__)
            await asyncio.sleep(self._interval_s)

    async def notice(self) -> str | None:
        """Why the instance is about to end; None if it is not.

        Raises:
            OSError, TimeoutError: if the metadata service does not answer.
        """
        spot = await self._read(SPOT)
        if spot.status == 200:
            return f"spot interruption {spot.body.decode('utf-8', 'replace')[:200]}"
        lifecycle = await self._read(LIFECYCLE)
        if lifecycle.status == 200 and lifecycle.body.strip() == b"Terminated":
            return "its auto-scaling group takes it away"
        return None

    async def _read(self, path: str) -> HttpReply:
        reply = await self._ask("GET", path, b"X-aws-ec2-metadata-token: " + self._token) if self._token else None
        if reply is None or reply.status == 401:
            granted = await self._ask(
                "PUT", "/latest/api/token", b"X-aws-ec2-metadata-token-ttl-seconds: %d" % TOKEN_LIFE_S
            )
            if granted.status != 200:
                raise ConnectionError(f"the metadata service grants no token: {granted.status}")
            self._token = granted.body
            reply = await self._ask("GET", path, b"X-aws-ec2-metadata-token: " + self._token)
        return reply

    async def _ask(self, method: str, path: str, header: bytes) -> HttpReply:
        # A new connection for each question: they are seconds apart.
        connection = AsyncConnection(self._target)
        head = f"{method} {path} HTTP/1.1\r\nHost: {self._target.authority}\r\nContent-Length: 0\r\n".encode("ascii")
        try:
            return await connection.exchange(head + header + b"\r\n\r\n", TIMEOUT_S)
        finally:
            connection.close()
