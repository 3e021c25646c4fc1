"""Which nodes Ray's autoscaler ends: its own scheduler, with the requests of the controller."""

from __future__ import annotations

from typing import Any

import pytest
import ray._raylet
from ray.autoscaler.v2.instance_manager.config import NodeTypeConfig
from ray.autoscaler.v2.scheduler import ResourceDemandScheduler, SchedulingRequest
from ray.autoscaler.v2.schema import AutoscalerInstance
from ray.autoscaler.v2.utils import ResourceRequestUtil
from ray.core.generated import autoscaler_pb2, common_pb2, instance_manager_pb2

from cluster.control.model import SEATLINE_NODE
from cluster.processes.ray_cluster import NODE_ID_LABEL, staying

# None of these has types.
raylet: Any = ray._raylet
autoscaler: Any = autoscaler_pb2
common: Any = common_pb2
instances: Any = instance_manager_pb2

IDLE_TIMEOUT_S = 60.0
NODES = ("a", "b", "c")


def ended_and_launched(wanted: int, leaving: set[str], idle: set[str], nodes_max: int = 3) -> tuple[set[str], int]:
    """The nodes that Ray ends, and how many it starts."""
    constraint = autoscaler.ClusterResourceConstraint()
    request = ResourceRequestUtil.make({SEATLINE_NODE: 1}, label_selectors=_parsed(staying(leaving)))
    constraint.resource_requests.add(request=request, count=wanted)
    worker = NodeTypeConfig("worker", 1, nodes_max, resources={"CPU": 4, SEATLINE_NODE: 1})
    asked = SchedulingRequest(
        disable_launch_config_check=True,
        node_type_configs={"worker": worker},
        max_num_nodes=nodes_max,
        idle_timeout_s=IDLE_TIMEOUT_S,
        cluster_resource_constraints=[constraint],
        current_instances=[_instance(one, is_idle=one in idle) for one in NODES],
    )
    reply = ResourceDemandScheduler().schedule(asked)
    return {one.ray_node_id for one in reply.to_terminate}, sum(one.count for one in reply.to_launch)


def _parsed(selector: dict[str, str]) -> list[list[tuple[str, int, list[str]]]]:
    """As Ray's GCS hands it to the autoscaler."""
    not_in = common.LabelSelectorOperator.LABEL_OPERATOR_NOT_IN
    return [[(key, not_in, value.removeprefix("!in(").removesuffix(")").split(","))] for key, value in selector.items()]


def _instance(node_id: str, *, is_idle: bool) -> AutoscalerInstance:
    resources = {"CPU": 4.0, SEATLINE_NODE: 1.0}
    node = autoscaler.NodeState(
        node_id=node_id.encode(),
        ray_node_type_name="worker",
        total_resources=resources,
        available_resources=resources if is_idle else {**resources, "CPU": 2.0},
        labels={NODE_ID_LABEL: node_id},
        status=autoscaler.NodeStatus.IDLE if is_idle else autoscaler.NodeStatus.RUNNING,
        idle_duration_ms=int(IDLE_TIMEOUT_S * 2000) if is_idle else 0,
    )
    known = instances.Instance(
        instance_id=f"i-{node_id}",
        instance_type="worker",
        status=instances.Instance.RAY_RUNNING,
        node_id=node_id,
        node_kind=instances.NodeKind.WORKER,
    )
    return AutoscalerInstance(f"i-{node_id}", node, known)


@pytest.mark.parametrize("left", NODES)
def test_the_node_that_was_left_is_ended_whichever_it_is(left: str) -> None:
    assert ended_and_launched(2, {left}, {left}) == ({left}, 0)


def test_unless_it_is_named_ray_keeps_nodes_of_its_own_choosing() -> None:
    ended = [ended_and_launched(2, set(), {left}) == ({left}, 0) for left in NODES]
    assert not all(ended), "Ray has changed: staying() may not be needed any more"


def test_two_that_were_left_are_ended_together_and_one_that_serves_stays() -> None:
    assert ended_and_launched(1, {"a", "c"}, {"a", "c"}) == ({"a", "c"}, 0)
    assert ended_and_launched(1, {"a", "c"}, {"a"}) == ({"a"}, 0), "not before it is idle"
    assert ended_and_launched(1, {"a", "b", "c"}, {"a", "b", "c"})[0] != set(NODES), "min_workers holds"


def test_for_a_node_that_is_drained_another_is_started_if_there_may_be_one_more() -> None:
    assert ended_and_launched(3, {"b"}, set(), nodes_max=4) == (set(), 1)
    assert ended_and_launched(3, {"b"}, set(), nodes_max=3) == (set(), 0)
    assert ended_and_launched(3, {"b"}, {"b"}, nodes_max=3) == ({"b"}, 0), "then there is room for another"


def test_the_selector_is_one_of_rays() -> None:
    assert staying(()) == {}
    selector = staying({"b", "a"})
    assert selector == {NODE_ID_LABEL: "!in(a,b)"}
    assert raylet.node_labels_match_selector({NODE_ID_LABEL: "c"}, selector)
    assert raylet.node_labels_match_selector({}, selector), "a node that is still to come"
    assert not raylet.node_labels_match_selector({NODE_ID_LABEL: "a"}, selector)
