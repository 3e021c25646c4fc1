"""Ray's own autoscaler (version 2) on one machine: it starts and ends nodes that are processes.

What Ray's ``AutoscalingCluster`` does, without ending every other Ray of the machine first, and with an address and a
token of its own. The wheel lacks the configuration that Ray's class reads.
"""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from pathlib import Path

import orjson
from ray.autoscaler._private.fake_multi_node.node_provider import FAKE_HEAD_NODE_ID

from cluster.control.model import SEATLINE_NODE
from tests.faults.nodes import LocalCluster, new_cluster

PROVIDER = "ray.autoscaler._private.fake_multi_node.node_provider.FakeMultiNodeProvider"
IDLE_TIMEOUT_MIN = 0.2


@contextlib.asynccontextmanager
async def autoscaled_cluster(directory: Path, *, nodes_max: int, cpus: int = 4) -> AsyncIterator[LocalCluster]:
    """A head without CPUs and one node; all others come and go as the autoscaler is asked."""
    cluster = new_cluster(
        directory,
        RAY_FAKE_CLUSTER="1",
        RAY_enable_autoscaler_v2="1",
        AUTOSCALER_UPDATE_INTERVAL_S="1",
        RAY_CLOUD_INSTANCE_ID=FAKE_HEAD_NODE_ID,
        RAY_OVERRIDE_NODE_ID_FOR_TESTING=FAKE_HEAD_NODE_ID,
    )
    config = directory / "autoscaling.json"
    config.write_bytes(orjson.dumps(_config(cluster.address, nodes_max, cpus)))
    try:
        await cluster.start_head(f"--autoscaling-config={config}")
        yield cluster
    finally:
        for node in cluster.nodes:
            node.kill()


def _config(address: str, nodes_max: int, cpus: int) -> dict[str, object]:
    worker = {"resources": {"CPU": cpus, SEATLINE_NODE: 1}, "node_config": {}, "min_workers": 1}
    return {
        "cluster_name": "seatline",
        "max_workers": nodes_max,
        "idle_timeout_minutes": IDLE_TIMEOUT_MIN,
        "upscaling_speed": 1.0,
        "provider": {
            "type": "external",
            "module": PROVIDER,
            "gcs_address": address,
            "launch_multiple": True,
            "head_node_id": FAKE_HEAD_NODE_ID,
        },
        "available_node_types": {
            "ray.head.default": {"resources": {"CPU": 0}, "node_config": {}, "max_workers": 0},
            "worker": {**worker, "max_workers": nodes_max},
        },
        "head_node_type": "ray.head.default",
        "auth": {},
        "file_mounts": {},
        "cluster_synced_files": [],
        "file_mounts_sync_continuously": False,
        "rsync_exclude": [],
        "rsync_filter": [],
        "initialization_commands": [],
        "setup_commands": [],
        "head_setup_commands": [],
        "worker_setup_commands": [],
        "head_start_ray_commands": [],
        "worker_start_ray_commands": [],
        "docker": {},
    }
