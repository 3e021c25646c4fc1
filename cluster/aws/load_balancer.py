"""The target group of an ALB: nodes are registered by address and port, and drained before they end."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Any

from cluster.aws.clients import AwsClients
from cluster.aws.errors import AwsError, AwsRefusedError

log = logging.getLogger(__name__)

SERVICE = "elbv2"
POLL_S = 2.0
DRAIN_S_MAX = 120.0
"""Our target group (cloudformation/) drains within a minute; the default of AWS is five."""

GONE = frozenset({"Target.NotRegistered", "Target.NotInUse"})


class TargetGroup:
    """Implements ``cluster.control.ports.LoadBalancer``.

    Args:
        arn: of a target group whose targets are IP addresses.
        drain_s_max: how long a deregistration waits for requests under way to end.
        poll_s: between two questions whether they have.
    """

    def __init__(
        self, clients: AwsClients, arn: str, *, drain_s_max: float = DRAIN_S_MAX, poll_s: float = POLL_S
    ) -> None:
        self._clients = clients
        self._arn = arn
        self._drain_s_max = drain_s_max
        self._poll_s = poll_s

    async def register(self, node_ip: str, port: int) -> None:
        """Register a target. Repeating it changes nothing.

        Raises:
            ConnectionError: if it may not be registered.
        """
        target = _target(node_ip, port)
        try:
            await self._call(lambda client: client.register_targets(TargetGroupArn=self._arn, Targets=[target]))
        except AwsError as error:
            raise ConnectionError(str(error)) from error

    async def deregister(self, node_ip: str, port: int) -> None:
        """Deregister a target and wait until it has drained, up to ``drain_s_max``. Repeating it changes nothing.

        Raises:
            ConnectionError: if it may still be registered.
        """
        target = _target(node_ip, port)
        try:
            await self._call(lambda client: client.deregister_targets(TargetGroupArn=self._arn, Targets=[target]))
        except AwsError as error:
            if _is_unknown_target(error):
                return
            raise ConnectionError(str(error)) from error
        try:
            async with asyncio.timeout(self._drain_s_max):
                while await self._is_draining(target):
                    await asyncio.sleep(self._poll_s)
        except TimeoutError:
            log.warning("%s:%d still drains after %.0f s; it is ended all the same", node_ip, port, self._drain_s_max)

    async def _is_draining(self, target: dict[str, Any]) -> bool:
        """Whether requests may still be under way. If AWS cannot be asked, they may."""
        try:
            answer = await self._call(
                lambda client: client.describe_target_health(TargetGroupArn=self._arn, Targets=[target])
            )
        except AwsError as error:
            return not _is_unknown_target(error)
        health = [one["TargetHealth"] for one in answer["TargetHealthDescriptions"]]
        return any(one["State"] != "unused" and one.get("Reason") not in GONE for one in health)

    async def _call(self, work: Callable[[Any], Any]) -> Any:
        return await self._clients.call(SERVICE, work)


def _is_unknown_target(error: AwsError) -> bool:
    return isinstance(error, AwsRefusedError) and error.code == "InvalidTarget"


def _target(node_ip: str, port: int) -> dict[str, Any]:
    return {"Id": node_ip, "Port": port}
