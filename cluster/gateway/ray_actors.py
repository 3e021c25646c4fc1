"""All calls to Ray on the path of a request: handles by name, calls, and the meaning of their failures."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import asyncpg
import ray
import ray.actor
import ray.exceptions

from allocator.actor import HostBuilder, SectionActor
from allocator.model.delivery import Reply
from allocator.model.outcomes import Code, Outcome
from cluster.gateway.directory import DEDICATED_PREFIX
from cluster.gateway.errors import ActorAbsentError, ActorLostError
from cluster.gateway.wire import WireCodec
from persistence.queries.known_sections import KnownSections

NAMESPACE = "seatline"
POOLED_CPUS = 0.25
OWN_CPUS = 0.1
"""For the actor that a hot section has to itself."""
DEDICATED_CPUS = 0.001
"""More than zero, so that the autoscaler sees the demand; small, so that the actors of a catalogue fit on a node."""


UNREACHABLE = (
    ray.exceptions.RayError,
    ValueError,  # no actor of this name
    OSError,
    TimeoutError,
    asyncpg.PostgresError,
    asyncpg.InterfaceError,
)


class RayActors:
    """Handles of section actors, looked up once and kept until a call fails.

    Looking up and creating an actor block on the GCS, so they run in threads.

    Args:
        build: builds the host of a dedicated section actor, in its own process. Pickled when the actor is created.
        sections: the sections of the catalogue: a dedicated actor is started for no other. Closed with this object.
        idle_exit_s: a dedicated section actor exits after so many seconds without a call.
    """

    def __init__(self, build: HostBuilder, sections: KnownSections, *, idle_exit_s: float) -> None:
        self._build = build
        self._idle_exit_s = idle_exit_s
        self._sections = sections
        self._handles: dict[str, Any] = {}
        self._threads = ThreadPoolExecutor(max_workers=4, thread_name_prefix="ray-lookup")

    async def call(self, name: str, packed: bytes) -> bytes:
        """Have the named actor decide a packed batch of commands.

        Raises:
            ActorAbsentError: if it could not be found.
            ActorLostError: if no answer came. The batch may have been decided or not.
        """
        handle = self._handles.get(name)
        if handle is None:
            try:
                if not await self._may_exist(name):
                    return _not_found(packed)
                handle = await self._find(name)
            except UNREACHABLE as error:
                raise ActorAbsentError(_in_short(error)) from error
        try:
            answer: bytes = await handle.submit.remote(packed)
        except UNREACHABLE as error:
            self._handles.pop(name, None)
            raise ActorLostError(_in_short(error)) from error
        return answer

    async def hand_over(self, name: str, moves: Mapping[int, str]) -> int:
        """Have the named actor release sections. See ``cluster.gateway.handover.CallHandOver``."""
        return await self._ask(name, lambda handle: handle.hand_over.remote(dict(moves)))

    async def take(self, name: str, section_ids: Sequence[int]) -> int:
        """Have the named actor activate sections. See ``cluster.gateway.handover.CallTake``."""
        return await self._ask(name, lambda handle: handle.take.remote(list(section_ids)))

    async def _ask(self, name: str, call: Callable[[Any], Any]) -> int:
        try:
            answer: int = await call(self._handles.get(name) or await self._find(name))
        except UNREACHABLE as error:
            self._handles.pop(name, None)
            raise ActorLostError(_in_short(error)) from error
        return answer

    def keep(self, includes: Callable[[str], bool]) -> None:
        """Drop the handles of other actors: Ray frees the name of a dead actor only when nobody holds its handle."""
        for name in [name for name in self._handles if not includes(name)]:
            del self._handles[name]

    async def _may_exist(self, name: str) -> bool:
        """Whether an actor of this name is allowed: not for a section that is not in the catalogue."""
        if not name.startswith(DEDICATED_PREFIX):
            return True
        return await self._sections.includes(int(name.removeprefix(DEDICATED_PREFIX)))

    async def _find(self, name: str) -> Any:
        loop = asyncio.get_running_loop()
        handle = await loop.run_in_executor(self._threads, self._look_up, name)
        self._handles[name] = handle
        return handle

    def _look_up(self, name: str) -> Any:
        if name.startswith(DEDICATED_PREFIX):
            return create_section_actor(name, self._build, num_cpus=DEDICATED_CPUS, idle_exit_s=self._idle_exit_s)
        return ray.get_actor(name, namespace=NAMESPACE)

    async def stats(self, names: tuple[str, ...], timeout_s: float = 0.5) -> list[dict[str, Any]]:
        """Counters of the named actors, and of all dedicated ones called so far, as far as they answer in time."""
        asked: dict[str, Any] = {**dict.fromkeys(names), **self._handles}
        answers = await asyncio.gather(*(self._stats_of(name, handle, timeout_s) for name, handle in asked.items()))
        return [answer for answer in answers if answer is not None]

    async def _stats_of(self, name: str, handle: Any | None, timeout_s: float) -> dict[str, Any] | None:
        try:
            async with asyncio.timeout(timeout_s):
                answer: dict[str, Any] = await (handle or await self._find(name)).stats.remote()
        except ray.exceptions.ActorDiedError:
            self._handles.pop(name, None)
            return None
        except (ray.exceptions.RayError, ValueError, TimeoutError):
            return None
        return answer

    async def ping(self, names: tuple[str, ...]) -> None:
        """Return as soon as one of the named actors answers.

        Raises:
            ActorLostError: if none does.
        """
        for name in names:
            try:
                await _answer((self._handles.get(name) or await self._find(name)).ping.remote())
            except (ray.exceptions.RayError, ValueError):
                continue
            return
        if names:
            raise ActorLostError("no section actor answers")

    def close(self) -> None:
        """End the threads and close the connections."""
        self._sections.close()
        self._threads.shutdown(wait=False, cancel_futures=True)


def _in_short(error: Exception) -> str:
    first_line = str(error).partition("\n")[0]
    return f"{type(error).__name__}: {first_line}"


def _not_found(packed: bytes) -> bytes:
    codec = WireCodec()
    wanted = [envelope.command.needs.section_ids[0] for envelope, _ in codec.decode_commands(packed)]
    return codec.encode_replies([Reply(Outcome(Code.NOT_FOUND, section_id)) for section_id in wanted])


EXISTS_TIMEOUT_S = 0.5


async def actor_exists(name: str) -> bool:
    """Whether there is a section actor of this name. True as well if Ray cannot say so now. Never raises."""
    try:
        async with asyncio.timeout(EXISTS_TIMEOUT_S):
            await asyncio.to_thread(ray.get_actor, name, namespace=NAMESPACE)
    except ValueError:
        return False
    except UNREACHABLE:
        return True
    return True


async def _answer(ref: Any) -> Any:
    return await ref


def create_section_actor(
    name: str,
    build: HostBuilder,
    *,
    num_cpus: float = POOLED_CPUS,
    idle_exit_s: float | None = None,
    scheduling: Any = None,
) -> Any:
    """The handle of the actor of this name, which is started if there is none. Processes may call it concurrently.

    Args:
        build: builds what the actor hosts, in its own process. It is pickled, so it may hold only plain values.
        idle_exit_s: the actor exits after so many seconds without a call, and is not restarted; None: never.
        scheduling: a strategy of Ray, such as one that names the node.
    """
    options: dict[str, Any] = {
        "name": name,
        "namespace": NAMESPACE,
        "lifetime": "detached",
        "get_if_exists": True,
        "num_cpus": num_cpus,
        # An actor that exits because it is idle must stay away; a pooled one comes back by itself.
        "max_restarts": 0 if idle_exit_s is not None else -1,
        "max_task_retries": 0,  # retries are the gateway's, with the same key
        "max_concurrency": 1000,
        "enable_task_events": False,
    }
    if scheduling is not None:
        options["scheduling_strategy"] = scheduling
    return ray.remote(SectionActor).options(**options).remote(name, build, idle_exit_s)
