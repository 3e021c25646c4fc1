"""The nodes behind an ALB: registered as ip and port, and drained before they go."""

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
"""A target group of ours drains within a minute (cloudformation); AWS's own default would be five."""

GONE = frozenset({"Target.NotRegistered", "Target.NotInUse"})


class TargetGroup:
    """Implements ``cluster.control.ports.LoadBalancer``.

    Args:
        arn: of a target group whose targets are IP addresses.
        drain_s_max: how long a deregistration waits for requests under way to end.
    """

    def __init__(
        self, clients: AwsClients, arn: str, *, drain_s_max: float = DRAIN_S_MAX, poll_s: float = POLL_S
    ) -> None:
        self._clients = clients
        self._arn = arn
        self._drain_s_max = drain_s_max
        self._poll_s = poll_s

    async def register(self, node_ip: str, port: int) -> None:
        """Send requests there from now on. Again changes nothing.

        Raises:
            ConnectionError: it may not be registered.
        """
        target = _target(node_ip, port)
        try:
            await self._call(lambda client: client.register_targets(TargetGroupArn=self._arn, Targets=[target]))
        except AwsError as error:
            raise ConnectionError(str(error)) from error

    async def deregister(self, node_ip: str, port: int) -> None:
        """Send no new requests there, and wait for those under way, but not for ever. Again changes nothing.

        Raises:
            ConnectionError: it may still be registered.
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
            log.warning("%s:%d still drains after %.0f s; it goes all the same", node_ip, port, self._drain_s_max)

    async def _is_draining(self, target: dict[str, Any]) -> bool:
        """Whether requests may still be on their way. If nobody can tell, they may."""
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
