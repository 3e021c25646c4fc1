"""Many processes that create the same named section actor at the same moment.

Run as ``python -m tests.faults.same_name PROCESSES ROUNDS`` in the environment of a running Seatline. Prints for each
round how many actors came of it, and how long it took until all had an answer from theirs.
"""

from __future__ import annotations

import asyncio
import os
import sys
import time
from typing import Any

import orjson
import ray

from cluster.config.runfile import read_run_file
from cluster.config.settings import plain_postgres_url, read_settings
from cluster.gateway.directory import DEDICATED_PREFIX
from cluster.gateway.ray_actors import DEDICATED_CPUS, NAMESPACE, create_section_actor
from cluster.processes import deployment
from cluster.processes.node import NodeConfig
from cluster.processes.section_host import HostFactory

IDLE_EXIT_S = 600.0
FIRST_SECTION_ID = 900_000_000
"""Of names that no section has."""


@ray.remote(num_cpus=0)
class Creator:
    """A process that creates actors, as an API process does in dedicated placement."""

    def ready(self) -> bool:
        """It has started."""
        return True

    async def create(self, name: str, factory: HostFactory) -> str:
        """Create the actor or find it, and have it answer.

        Returns:
            Ray's id of it.
        """
        handle = create_section_actor(name, factory, num_cpus=DEDICATED_CPUS, idle_exit_s=IDLE_EXIT_S)
        assert await handle.ping.remote() == name
        actor_id: str = handle._actor_id.hex()
        return actor_id


async def _race(creators: list[Any], factory: HostFactory, rounds: int) -> list[dict[str, float]]:
    results = []
    for n in range(rounds):
        name = f"{DEDICATED_PREFIX}{FIRST_SECTION_ID + n}"
        started = time.monotonic()
        ids = await asyncio.wait_for(asyncio.gather(*(one.create.remote(name, factory) for one in creators)), 60)
        results.append({"owners": len(set(ids)), "seconds": time.monotonic() - started})
        ray.kill(ray.get_actor(name, namespace=NAMESPACE))
    return results


async def _main(process_count: int, rounds: int) -> None:
    settings = read_settings()
    run = read_run_file(settings.home)
    assert run is not None and run.ray_token_path is not None
    assert settings.database_url is not None and settings.redis_url is not None
    os.environ["RAY_AUTH_TOKEN_PATH"] = run.ray_token_path
    await deployment.connect_to_ray(run.ray_address, lambda _step, _seconds: None)
    database_url = plain_postgres_url(settings.database_url.get_secret_value())
    factory = NodeConfig(settings, database_url, settings.redis_url.get_secret_value(), "", ("none",)).host_factory()
    creator_class: Any = Creator
    creators = [creator_class.remote() for _ in range(process_count)]
    for one in creators:
        await one.ready.remote()
    results = await _race(creators, factory, rounds)
    sys.stdout.buffer.write(b"\n" + orjson.dumps(results) + b"\n")
    sys.stdout.flush()
    await deployment.stop_ray()


if __name__ == "__main__":
    asyncio.run(_main(int(sys.argv[1]), int(sys.argv[2])))
