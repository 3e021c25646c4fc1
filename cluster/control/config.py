"""The configuration of the controller: the settings about nodes and actors, as plain values."""

from __future__ import annotations

from dataclasses import dataclass, field

from cluster.config.schedule import Opening, parse_schedule
from cluster.config.settings import Placement, Settings
from cluster.control.heat import HeatLimits
from cluster.control.sizing import SizeLimits


@dataclass(frozen=True, slots=True)
class ControlConfig:
    """What there should be on a cluster.

    Args:
        generation: marks actors of one version of code and settings; empty where there can be only one.
        actors_per_node: pooled section actors; 0 when every section has its own.
        port: port of the API; None: the first server picks a free one.
        drain_s: how long an API server that is about to end still takes connections, for load balancers to notice.
        openings: when registration opens, and how many nodes are needed then.
    """

    placement: Placement = Placement.AUTO
    generation: str = ""
    actors_per_node: int = 1
    api_servers_per_node: int = 1
    port: int | None = None
    drain_s: float = 0.0
    heat: HeatLimits = field(default_factory=HeatLimits)
    size: SizeLimits = field(default_factory=SizeLimits)
    openings: tuple[Opening, ...] = ()

    @property
    def is_dedicated(self) -> bool:
        """Whether every section has its own actor. API processes start these, and they exit when they are idle."""
        return self.placement is Placement.DEDICATED


def control_config(settings: Settings, generation: str) -> ControlConfig:
    """The configuration that follows from the settings."""
    return ControlConfig(
        placement=settings.placement,
        generation=generation,
        actors_per_node=0 if settings.placement is Placement.DEDICATED else settings.actors_per_node,
        api_servers_per_node=settings.api_servers_per_node,
        port=settings.port or None,
        drain_s=settings.drain_s,
        heat=HeatLimits(
            hot_share=settings.hot_share,
            hot_per_s=settings.hot_per_s,
            hot_for_s=settings.hot_for_s,
            cool_for_s=settings.cool_for_s,
            pins_max=settings.pins_max,
        ),
        size=SizeLimits(
            nodes_min=settings.nodes_min,
            nodes_max=settings.nodes_max,
            busy_high=settings.scale_out_busy,
            waiting_high=settings.scale_out_waiting,
            out_for_s=settings.scale_out_after_s,
            in_for_s=settings.scale_in_after_s,
        ),
        openings=parse_schedule(settings.schedule),
    )
