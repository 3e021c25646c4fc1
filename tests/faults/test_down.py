"""Shutdown behind a load balancer (moto's): it is told first, and only then the ports are closed."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from cluster.embedded import EmbeddedServices
from tests.aws.conftest import CREDENTIALS, REGION, Aws, _credentials, aws, endpoint
from tests.aws.test_services import group_arn, targets
from tests.faults.nodes import free_port, local_cluster
from tests.faults.stand import open_stand

__all__ = ["_credentials", "aws", "endpoint", "group_arn"]

pytestmark = [pytest.mark.faults, pytest.mark.timeout(300)]


async def test_down_takes_back_the_last_target_too(
    services: EmbeddedServices, short_tmp: Path, aws: Aws, group_arn: str
) -> None:
    port = free_port()
    settings = {
        **CREDENTIALS,
        "AWS_REGION": REGION,
        "AWS_ENDPOINT_URL": aws.endpoint,
        "SEATLINE_AWS_TARGET_GROUP_ARN": group_arn,
        "SEATLINE_DRAIN_S": "1",
        "PORT": str(port),
    }
    async with local_cluster(short_tmp / "cluster", host=None, **CREDENTIALS) as cluster:
        await cluster.add_node()
        async with open_stand(services, short_tmp, "down", cluster=cluster, detach=True, **settings) as stand:
            async with asyncio.timeout(30):
                while not targets(aws, group_arn):
                    await asyncio.sleep(0.2)
            assert [one for _, one in targets(aws, group_arn)] == [port]
            code, _, said = await stand.seatline.run("down")
            assert code == 0, said
            assert targets(aws, group_arn) == set()
