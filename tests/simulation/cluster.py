"""Actors and API processes, and the calls between them."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence

from allocator.actor import Host, SectionActor, StoppedError
from allocator.model.commands import RecheckHead
from allocator.model.delivery import Envelope, Reply
from allocator.ports import Committed
from allocator.turns.service import Limits, SectionService
from cluster.config.settings import Placement
from cluster.gateway.directory import DEDICATED_PREFIX, Directory, DirectoryView
from cluster.gateway.errors import ActorAbsentError, ActorLostError
from cluster.gateway.gateway import Gateway, GatewayLimits
from cluster.gateway.wire import WireCodec
from persistence.redis.lease import RedisLease
from tests.simulation.chaos import Chaos
from tests.simulation.plan import Fault
from tests.simulation.postgres import SimulatedPostgres
from tests.simulation.process import Process, ProcessDiedError
from tests.simulation.redis import SimulatedBreaker, SimulatedRedis

LEASE_TTL_MS = 5000
DEADLINE_S = 5.0
WATCH_INTERVAL_S = 3.0
SECTION_IDLE_S = 0.5


class NobodyListens:
    """Reads are not simulated."""

    async def announce(self, committed: Committed) -> None:
        """See ``allocator.ports.Announcer``."""


class SimulatedActor:
    """One incarnation of a section actor: the real shell and all that it holds, in a process of its own."""

    def __init__(self, name: str, incarnation: int, cluster: Cluster) -> None:
        self.process = Process(f"{name}#{incarnation}")
        self.service: SectionService | None = None
        self._cluster = cluster
        self._incarnation = str(incarnation)
        self._shell = SectionActor(name, self._build)

    async def submit(self, packed: bytes) -> bytes:
        """A call from an API process."""
        await self.process.edge()
        answer = await self._shell.submit(packed)
        await self.process.edge()
        return answer

    async def hand_over(self, moves: dict[int, str]) -> int:
        """A call from the controller."""
        await self.process.edge()
        return await self._shell.hand_over(moves)

    async def take(self, section_ids: Sequence[int]) -> int:
        """A call from the controller."""
        await self.process.edge()
        return await self._shell.take(section_ids)

    async def stop(self) -> int:
        """A call from the controller."""
        await self.process.edge()
        await self._shell.stop()
        return 0

    async def _build(self, name: str, _incarnation: str) -> Host:
        breaker = SimulatedBreaker(self._cluster.redis, self.process)
        lease = RedisLease("", name, self._incarnation, LEASE_TTL_MS, breaker=breaker)
        await lease.start()
        store = self._cluster.postgres.store(self.process)
        owner = f"{name}|{self._incarnation}"
        service = SectionService(owner, store, lease, NobodyListens(), self.process, self._cluster.limits)
        self.service = service
        return Host(service, WireCodec(), lease.close)

    def kill(self) -> None:
        """SIGKILL: the shell's own tasks end too."""
        self.process.kill()


class SimulatedApi:
    """One API process: a real gateway, and a watch for seats that nobody looks after."""

    def __init__(self, name: str, cluster: Cluster, view: DirectoryView) -> None:
        self.process = Process(name)
        self._cluster = cluster
        self._partitioned: set[str] = set()
        self._directory = Directory(view)
        self.gateway = Gateway(self._directory, self._call, GatewayLimits(deadline_s=DEADLINE_S))
        self.process.spawn(self._watch())

    def go_by(self, view: DirectoryView) -> None:
        """Learn of a view of the directory."""
        if not self.process.is_dead and self._directory.update(view):
            self.gateway.directory_changed()

    async def request(self, envelope: Envelope) -> Reply:
        """A request of a client.

        Raises:
            ProcessDiedError: if the connection ends without an answer.
        """
        chaos = self._cluster.chaos
        await chaos.latency()
        if self.process.is_dead:
            raise ProcessDiedError(self.process.name)
        started = asyncio.get_running_loop().time()
        reply = await self.process.result_of(self.process.spawn(self.gateway.submit(envelope)))
        self._cluster.waited_s = max(self._cluster.waited_s, asyncio.get_running_loop().time() - started)
        await chaos.latency()
        if chaos.strikes(Fault.CLIENT_CUT):
            raise ProcessDiedError("the client's connection broke")
        return reply

    def cut_off(self, actor: str) -> None:
        """Let nothing through to an actor."""
        self._partitioned.add(actor)

    def reconnect(self) -> None:
        """Let everything through again."""
        self._partitioned.clear()

    def kill(self) -> None:
        """SIGKILL. Whoever waits loses the connection; what the gateway would still say is heard by nobody."""
        self.process.kill()
        self._cluster.chaos.background(self.gateway.close())

    async def _call(self, name: str, packed: bytes) -> bytes:
        if name in self._partitioned:
            await asyncio.sleep(1.0)
            raise ActorLostError("no way to the actor")
        return await self._cluster.call(name, packed)

    async def _watch(self) -> None:
        """As ``cluster.processes.serving_tasks`` does it, with its question put to the in-memory tables."""
        while True:
            await asyncio.sleep(WATCH_INTERVAL_S)
            for section_id, student_id in unattended(self._cluster.postgres):
                await self.gateway.submit(Envelope(RecheckHead(section_id, student_id)))


class Cluster:
    """All processes, and the wire between them.

    Attributes:
        waited_s: the longest that any request waited for its answer in an API process.
        names: of the pooled actors, living or not.
        view: of the directory, as it was published last.
        doubled: keys of what arrived twice. That one of the two had no effect says nothing of the other.
    """

    def __init__(self, chaos: Chaos, postgres: SimulatedPostgres, redis: SimulatedRedis) -> None:
        self.chaos = chaos
        self.postgres = postgres
        self.redis = redis
        self.waited_s = 0.0
        self.doubled: set[str] = set()
        self.names = tuple(f"actor-{n}" for n in range(chaos.plan.actors))
        self.actors: dict[str, SimulatedActor] = {}
        self.zombies: list[SimulatedActor] = []
        self._incarnations = 0
        self.limits = Limits()
        if Fault.SECTIONS_IDLE in chaos.plan.faults:
            chaos.struck[Fault.SECTIONS_IDLE] += 1
            self.limits = Limits(section_idle_s=SECTION_IDLE_S)
        for name in self.names:
            self.start_actor(name)
        self.view = DirectoryView(1, Placement.AUTO, self.names)
        self.apis = [SimulatedApi(f"api-{n}", self, self.view) for n in range(chaos.plan.apis)]

    def start_actor(self, name: str) -> None:
        """A new incarnation under this name."""
        self._incarnations += 1
        self.actors[name] = SimulatedActor(name, self._incarnations, self)

    def ensure_actor(self, name: str) -> None:
        """One that lives under this name."""
        actor = self.actors.get(name)
        if actor is None or actor.process.is_dead:
            self.start_actor(name)

    def start_api(self, index: int, view: DirectoryView) -> None:
        """A new API process in the place of one that died."""
        self.apis[index] = SimulatedApi(f"api-{index}", self, view)

    async def call(self, name: str, packed: bytes) -> bytes:
        """Bytes to an actor and back, as Ray carries them.

        Raises:
            ActorLostError: if no answer came.
        """
        chaos = self.chaos
        await chaos.latency()
        if chaos.strikes(Fault.CALL_LOST):
            await asyncio.sleep(chaos.random.uniform(0.0, 3.0))
            raise ActorLostError("the call was lost")
        actor = self._actor(name)
        if chaos.strikes(Fault.CALL_LATE):
            actor.process.spawn(self._later(actor, packed))
            await asyncio.sleep(chaos.random.uniform(0.0, 1.0))
            raise ActorLostError("the call was given up")
        if _all_have_keys(packed) and chaos.strikes(Fault.CALL_DOUBLED):
            self.doubled.update(envelope.key for envelope in _with_keys(packed))
            actor.process.spawn(actor.submit(packed))
        try:
            answer = await actor.process.result_of(actor.process.spawn(actor.submit(packed)))
        except ProcessDiedError as error:
            raise ActorLostError(str(error)) from error
        await chaos.latency()
        if chaos.strikes(Fault.REPLY_LOST):
            raise ActorLostError("the reply was lost")
        return answer

    async def control(self, name: str, what: Callable[[SimulatedActor], Awaitable[int]]) -> int:
        """A call of the controller, which meets the same faults.

        Raises:
            ActorLostError: if no answer came.
        """
        chaos = self.chaos
        await chaos.latency()
        actor = self._actor(name)
        if chaos.strikes(Fault.CALL_LOST):
            raise ActorLostError("the call was lost")

        async def work(delay_s: float) -> int:
            await asyncio.sleep(delay_s)
            return await what(actor)

        if chaos.strikes(Fault.CALL_LATE):
            actor.process.spawn(work(chaos.random.uniform(0.0, 5.0)))
            raise ActorLostError("the call was given up")
        try:
            answer = await actor.process.result_of(actor.process.spawn(work(0.0)))
        except (ProcessDiedError, StoppedError) as error:  # Ray brings what an actor raises as an error of its own
            raise ActorLostError(str(error)) from error
        await chaos.latency()
        if chaos.strikes(Fault.REPLY_LOST):
            raise ActorLostError("the reply was lost")
        return answer

    def _actor(self, name: str) -> SimulatedActor:
        """Found by its name. One for a single section is started if there is none."""
        if name.startswith(DEDICATED_PREFIX):
            self.ensure_actor(name)
        if name not in self.actors:
            raise ActorAbsentError(name)
        return self.actors[name]

    async def _later(self, actor: SimulatedActor, packed: bytes) -> None:
        await asyncio.sleep(self.chaos.random.uniform(0.0, 3.0))
        await actor.submit(packed)

    def living_services(self) -> list[SectionService]:
        """The drain loops of the actors that are."""
        actors = [*self.actors.values(), *self.zombies]
        return [one.service for one in actors if one.service is not None and not one.process.is_dead]


def _all_have_keys(packed: bytes) -> bool:
    """Ray delivers a call at most once. Should it not, only what is looked up by its key is safe."""
    envelopes = WireCodec().decode_commands(packed)
    return len(envelopes) == sum(envelope.maybe_tried for envelope in _with_keys(packed))


def _with_keys(packed: bytes) -> list[Envelope]:
    return [envelope for envelope, _ in WireCodec().decode_commands(packed) if envelope.key]


def unattended(postgres: SimulatedPostgres) -> list[tuple[int, int]]:
    """The first waiting student, not known to be blocked, of each section with a free seat."""
    database = postgres.database
    found = []
    for section_id, seats in sorted(database.seats.items()):
        if seats.waitlisted == 0 or seats.enrolled >= seats.capacity or not seats.is_open:
            continue
        versions = {key.student_id: record.version for key, record in database.records.items()}
        waiting = sorted(database.active(section_id, "waitlisted"), key=lambda row: row.place or 0)
        for row in waiting:
            if row.blocked_at is None or row.blocked_at != versions[row.student_id]:
                found.append((section_id, row.student_id))
                break
    return found
