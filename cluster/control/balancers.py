"""Which load balancer the controller tells of API servers that come and go."""

from __future__ import annotations

from cluster.control.ports import LoadBalancer, NoLoadBalancer
from cluster.settings import Settings


def open_balancer(_settings: Settings) -> LoadBalancer:
    """The configured one; by default none is told."""
    return NoLoadBalancer()
