"""A Ray head with the start command of ray_cluster.yaml, whose own autoscaler gets its workers from EC2 (moto's).

The workers are instances without a machine behind them, so they never join: what is seen is that they are asked for,
and as what.
"""

from __future__ import annotations

import asyncio
import json
import os
import re
import secrets
import sys
from pathlib import Path
from typing import Any

import boto3
import psutil
import pytest
import yaml

from cluster.processes.deployment import RAY_ENVIRONMENT
from scripts import ray_cluster
from tests.faults.nodes import Node, free_port
from tests.infrastructure.conftest import NAME, REGION, aws, clean_directory, stacks
from tests.infrastructure.test_ray_cluster import prepare

__all__ = ["aws", "clean_directory", "stacks"]

pytestmark = pytest.mark.faults

LAUNCH_TIMEOUT_S = 90.0


def bootstrapped() -> dict[str, Any]:
    """The file as `ray up` leaves it on the head, but for SSH: there is nobody to reach."""
    from ray.autoscaler._private.aws.node_provider import AWSNodeProvider

    aws_nodes: Any = AWSNodeProvider
    values = {**ray_cluster.read_exports(NAME, REGION), "Name": NAME, "Region": REGION}
    config = prepare(ray_cluster.fill(ray_cluster.TEMPLATE.read_text(encoding="utf-8"), values))
    config = aws_nodes.bootstrap_config(aws_nodes.fillout_available_node_types_resources(config))
    del config["head_node"], config["auth"]["ssh_proxy_command"], config["auth"]["ssh_proxy_use_node_id"]
    config["provider"]["disable_node_updaters"] = True
    return dict(config)


def start_command(config: dict[str, Any], config_path: Path) -> list[str]:
    """The one of the file; ports that others on this machine may have are free ones instead."""
    (line,) = (one for one in config["head_start_ray_commands"] if "ray start" in one)
    arguments = line[line.index("ray start") :].split()[1:]
    taken = {name: free_port() for name in re.findall(r"--([\w-]+port)=", line) if "worker" not in name}
    with_ports = [re.sub(r"^--([\w-]+port)=\d+$", lambda found: _with_port(found, taken), one) for one in arguments]
    return [*(one for one in with_ports if not one.startswith("--autoscaling")), f"--autoscaling-config={config_path}"]


def _with_port(found: re.Match[str], taken: dict[str, int]) -> str:
    return f"--{found[1]}={taken[found[1]]}" if found[1] in taken else found[0]


async def test_the_autoscaler_asks_ec2_for_the_workers_of_the_file(
    stacks: None, clean_directory: Path, short_tmp: Path
) -> None:
    from ray.autoscaler._private.aws.node_provider import AWSNodeProvider

    config = bootstrapped()
    nodes: Any = AWSNodeProvider
    provider = nodes(config["provider"], NAME)
    head_config = config["available_node_types"]["head"]["node_config"]
    provider.create_node(
        head_config, {"ray-node-type": "head", "ray-user-node-type": "head", "ray-node-name": "head"}, 1
    )
    (head_id,) = provider.non_terminated_nodes({"ray-node-type": "head"})
    config_path = clean_directory / "ray_bootstrap_config.yaml"
    config_path.write_text(yaml.safe_dump(json.loads(json.dumps(config))), encoding="utf-8")
    token_path = clean_directory / "token"
    token_path.write_text(secrets.token_urlsafe(48), encoding="ascii")
    environment = {
        **os.environ,
        **RAY_ENVIRONMENT,
        "RAY_AUTH_TOKEN_PATH": str(token_path),
        # What the launcher sets on the head.
        "RAY_enable_autoscaler_v2": "1",
        "RAY_CLOUD_INSTANCE_ID": head_id,
        "RAY_NODE_TYPE_NAME": "head",
        "RAY_OVERRIDE_RESOURCES": json.dumps(config["available_node_types"]["head"]["resources"]),
    }
    log_path = clean_directory / "head.log"
    with log_path.open("wb") as log:
        process = await asyncio.create_subprocess_exec(
            str(Path(sys.executable).with_name("ray")),
            *start_command(config, config_path),
            "--block",
            f"--temp-dir={short_tmp / 'ray'}",
            env=environment,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    try:
        async with asyncio.timeout(LAUNCH_TIMEOUT_S):
            while not (workers := provider.non_terminated_nodes({"ray-node-type": "worker"})):
                assert process.returncode is None, log_path.read_text()
                await asyncio.sleep(0.5)
        for tags in (provider.node_tags(worker) for worker in workers):
            assert tags["ray-user-node-type"] == "worker"
        listening = {
            connection.laddr.port
            for one in psutil.Process(process.pid).children(recursive=True)
            for connection in one.net_connections("tcp")
            if connection.status == psutil.CONN_LISTEN
        }
        assert 8265 not in listening, "where a dashboard would be"
        described = boto3.client("ec2").describe_instances(InstanceIds=workers)["Reservations"]
        profiles = {each["IamInstanceProfile"]["Arn"] for one in described for each in one["Instances"]}
        assert all("WorkerProfile" in arn for arn in profiles)
    finally:
        await Node(process).stop()
        provider.terminate_nodes(provider.non_terminated_nodes({}))
