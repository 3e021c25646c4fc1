"""Chooses the load balancer in front of the API servers, by the settings."""

from __future__ import annotations

from cluster.config.settings import Settings
from cluster.control.ports import LoadBalancer, NoLoadBalancer


def open_balancer(settings: Settings) -> LoadBalancer:
    """The configured target group of an ALB, or a load balancer that needs no calls."""
    if settings.aws_target_group_arn is None:
        return NoLoadBalancer()
    from cluster.aws.clients import AwsClients  # noqa: PLC0415  (boto3 takes a moment to import)
    from cluster.aws.load_balancer import TargetGroup  # noqa: PLC0415

    return TargetGroup(AwsClients.of(settings), settings.aws_target_group_arn)
