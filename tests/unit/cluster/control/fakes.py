"""A Ray cluster in memory for the controller: nodes that come and go, actors that start, die and hold sections."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace

from cluster.control.config import ControlConfig
from cluster.control.controller import Controller
from cluster.control.model import Node, Pulse, Remembered
from cluster.control.names import placed
from cluster.control.ports import ClusterAwayError
from cluster.gateway.errors import ActorLostError


def node(label: str, *, cpus: float = 4.0, declared: bool = False) -> Node:
    """A living node; its id and its label are the same."""
    return Node(label, label, f"10.0.0.{sum(map(ord, label)) % 250}", cpus, is_declared=declared)


class FakeClock:
    """Time that passes when told to."""

    def __init__(self) -> None:
        self.time = 1_000_000.0

    def now(self) -> float:
        return self.time

    def monotonic(self) -> float:
        return self.time


@dataclass
class FakeActor:
    """What a fake actor has and says."""

    label: str
    pulse: Pulse = field(default_factory=Pulse)
    sections: set[int] = field(default_factory=set)
    answers: bool = True


class FakeCluster:
    """Implements ``cluster.control.ports.Cluster``. API servers follow the view as soon as it is published."""

    def __init__(self, *nodes: Node) -> None:
        self.known = {one.label: one for one in nodes}
        self.actors: dict[str, FakeActor] = {}
        self.is_away = False
        self.starts: list[str] = []
        self.stops: list[str] = []
        self.requested: list[tuple[int, set[str]]] = []
        self.refuses: set[str] = set()
        self.drains: set[str] = set()
        """API servers that are not done with their requests: after ``stop`` they are there, and do not listen."""
        self.version = 0

    async def nodes(self) -> list[Node]:
        if self.is_away:
            raise ClusterAwayError("the GCS is away")
        return list(self.known.values())

    async def actor_names(self) -> set[str]:
        if self.is_away:
            raise ClusterAwayError("the GCS is away")
        return set(self.actors)

    async def start_section_actor(self, name: str, node: Node | None) -> None:
        self._start(name, node)

    async def start_api_server(self, name: str, node: Node, port: int | None) -> int:
        self._start(name, node)
        listening = port or 8080
        self.actors[name].pulse = replace(self.actors[name].pulse, port=listening)
        return listening

    def _start(self, name: str, node: Node | None) -> None:
        self.starts.append(name)
        if name in self.refuses:
            raise ActorLostError(f"{name} cannot start")
        self.actors.setdefault(name, FakeActor(node.label if node else next(iter(self.known))))

    async def pulse(self, name: str) -> Pulse:
        actor = self._answering(name)
        found = placed(name)
        version = self.version if found is not None and found.is_api else 0
        return replace(actor.pulse, sections=len(actor.sections), view_version=version)

    async def active_sections(self, name: str) -> list[int]:
        return sorted(self._answering(name).sections)

    async def hand_over(self, name: str, moves: Mapping[int, str]) -> int:
        actor = self._answering(name)
        had = actor.sections & moves.keys()
        actor.sections -= had
        return len(had)

    async def take(self, name: str, section_ids: Sequence[int]) -> int:
        actor = self._answering(name)
        taken = set(section_ids) - actor.sections
        actor.sections |= taken
        return len(taken)

    async def stop(self, name: str, drain_s: float = 0.0) -> None:
        self.stops.append(name)
        if name in self.drains:
            self.actors[name].pulse = replace(self.actors[name].pulse, port=None)
        else:
            self.actors.pop(name, None)

    async def request_nodes(self, count: int, leaving: Collection[str]) -> None:
        self.requested.append((count, set(leaving)))

    def _answering(self, name: str) -> FakeActor:
        actor = self.actors.get(name)
        if actor is None or not actor.answers:
            raise ActorLostError(name)
        return actor

    def lose(self, label: str) -> None:
        """A node dies with all that is on it."""
        self.known[label] = replace(self.known[label], is_alive=False)
        self.actors = {name: one for name, one in self.actors.items() if one.label != label}

    def pooled(self) -> list[str]:
        """Names of the section actors that belong on nodes."""
        return sorted(name for name in self.actors if name.startswith("sections-"))

    def api(self) -> list[str]:
        """Names of the API servers."""
        return sorted(name for name in self.actors if name.startswith("api-"))


class FakeStore:
    """Implements ``cluster.control.ports.StateStore``."""

    def __init__(self) -> None:
        self.kept: Remembered | None = None
        self.buried: list[str] = []

    async def load(self) -> Remembered | None:
        return self.kept

    async def save(self, state: Remembered) -> None:
        self.kept = state

    async def bury(self, actors: Collection[str]) -> None:
        self.buried += actors


class FakeBalancer:
    """Implements ``cluster.control.ports.LoadBalancer``."""

    def __init__(self) -> None:
        self.targets: set[tuple[str, int]] = set()
        self.is_away = False
        self.loses_answers = False

    async def register(self, node_ip: str, port: int) -> None:
        self._require()
        self.targets.add((node_ip, port))
        if self.loses_answers:
            raise TimeoutError("registered, but the answer was lost")

    async def deregister(self, node_ip: str, port: int) -> None:
        self._require()
        self.targets.discard((node_ip, port))

    def _require(self) -> None:
        if self.is_away:
            raise TimeoutError("the load balancer does not answer")


class World:
    """A controller on a fake cluster, and time."""

    def __init__(self, *nodes: Node, config: ControlConfig | None = None) -> None:
        self.cluster = FakeCluster(*nodes)
        self.store = FakeStore()
        self.clock = FakeClock()
        self.balancer = FakeBalancer()
        self.config = config or ControlConfig(port=8080)
        self.controller = self.new_controller()

    def new_controller(self) -> Controller:
        """One that knows nothing yet."""
        self.controller = Controller(self.config, self.cluster, self.store, self.balancer, self.clock)
        return self.controller

    async def steps(self, count: int = 1, *, seconds: float = 1.0) -> None:
        """So many looks, each followed by all that it began."""
        for _ in range(count):
            await self.controller.step()
            await self.controller.idle()
            self.cluster.version = self.controller.version
            self.clock.time += seconds

    @property
    def pooled(self) -> tuple[str, ...]:
        """Those that share the sections."""
        view = self.controller.view
        assert view is not None
        return view.pooled
