"""Starts the section actors of a Seatline that is about to be deployed, on whatever nodes there are now.

Run as ``python -m tests.faults.place_actors`` in its environment. ``seatline serve`` finds them by their names, as it
would after a restart. So a test decides where they are without a placement that the product does not have.
"""

from __future__ import annotations

import asyncio

from cluster import deployment
from cluster.node import NodeConfig, pooled_names
from cluster.ray_actors import create_section_actor
from cluster.settings import plain_postgres_url, read_settings


async def _place() -> None:
    settings = read_settings()
    assert settings.database_url is not None and settings.redis_url is not None and settings.ray_address is not None
    await deployment.connect_to_ray(settings.ray_address, lambda _step, _seconds: None)
    names = pooled_names(settings, ("local",))
    database_url = plain_postgres_url(settings.database_url.get_secret_value())
    factory = NodeConfig(settings, database_url, settings.redis_url.get_secret_value(), "", names).host_factory()
    for actor in [create_section_actor(name, factory) for name in names]:
        await actor.ping.remote()
    await deployment.stop_ray()


if __name__ == "__main__":
    asyncio.run(_place())
