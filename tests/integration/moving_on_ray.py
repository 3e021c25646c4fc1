"""Sections go to and fro between two real actors under a steady load; what came of it is printed as JSON.

Run as ``python -m tests.integration.moving_on_ray SECTION_IDS STUDENT_IDS`` in the environment of a Seatline: a process
of its own, since Ray reads its environment when it is imported, and starts once.
"""

from __future__ import annotations

import asyncio
import json
import sys
from collections import Counter

from allocator.model.section import SectionState
from cluster.config.secrets import ray_token_path
from cluster.config.settings import Placement, Settings, plain_postgres_url, read_settings
from cluster.gateway.directory import DirectoryView, moves, owner_in
from cluster.gateway.handover import hand_over
from cluster.gateway.ray_actors import create_section_actor
from cluster.processes import deployment
from cluster.processes.node import NodeConfig, OpenGateway
from persistence.verify import verify
from tests.drain_loop import enroll

A, B = "sections-here-0", "sections-here-1"
PLACES = ((B,), (A,), (A, B), (B,), (A, B))
PAUSE_S = 0.3


async def main(section_ids: list[int], student_ids: list[int]) -> dict[str, object]:
    settings = read_settings()
    await deployment.start_local_ray(str(ray_token_path(settings)), lambda _step, _seconds: None)
    try:
        return await _move(settings, section_ids, student_ids)
    finally:
        await deployment.stop_ray()


async def _move(settings: Settings, section_ids: list[int], student_ids: list[int]) -> dict[str, object]:
    assert settings.database_url is not None and settings.redis_url is not None
    url = plain_postgres_url(settings.database_url.get_secret_value())
    config = NodeConfig(settings, url, settings.redis_url.get_secret_value(), "", (A, B))
    actors = [create_section_actor(name, config.host_factory()) for name in (A, B)]
    for actor in actors:
        await actor.ping.remote()
    opened = config.open_gateway()
    codes: Counter[str] = Counter()
    waits_s: list[float] = []
    loop = asyncio.get_running_loop()
    moving = asyncio.create_task(_to_and_fro(opened, section_ids))

    async def student(student_id: int) -> None:
        for section_id in section_ids:
            started = loop.time()
            codes[(await opened.gateway.submit(enroll(student_id, section_id))).code.value] += 1
            waits_s.append(loop.time() - started)
            await asyncio.sleep(0.02)

    try:
        async with asyncio.TaskGroup() as everybody:
            for student_id in student_ids:
                everybody.create_task(student(student_id))
        moved = await moving

        async def memory() -> list[SectionState]:
            return [SectionState(*state) for actor in actors for state in await actor.snapshot.remote()]

        findings = await verify(url, memory)
        active = len(await memory())
    finally:
        await opened.close()
    return {
        "codes": codes,
        "moved": moved,
        "active": active,
        "longest_wait_s": round(max(waits_s), 3),
        "findings": [f"{one.invariant}: {one.title}" for one in findings],
    }


async def _to_and_fro(opened: OpenGateway, section_ids: list[int]) -> int:
    view, moved = opened.directory.view, 0
    for version, pooled in enumerate(PLACES, start=1):
        await asyncio.sleep(PAUSE_S)
        old, view = view, DirectoryView(version, Placement.AUTO, pooled)
        by_owner: dict[str, dict[int, str]] = {}
        for section_id, new in moves(old, view, section_ids).items():
            by_owner.setdefault(owner_in(old, section_id) or "", {})[section_id] = new
        opened.update_directory(view)
        done = await hand_over(by_owner, opened.actors.hand_over, opened.actors.take, portion=5)
        assert not done.silent
        moved += done.handed
    return moved


if __name__ == "__main__":
    print(json.dumps(asyncio.run(main(json.loads(sys.argv[1]), json.loads(sys.argv[2])))))
