"""A second API process, one that believes other actors to be alive than the first does.

Run as ``python -m tests.faults.other_gateway ACTOR ...`` in the environment of a running Seatline. Says ``ready``, and
for each line of ``[student, section, key]`` lists on its standard input answers with a line of outcomes.
"""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Sequence
from typing import Any, Self

import orjson

from allocator.model.commands import Enroll
from allocator.model.delivery import Envelope
from allocator.model.outcomes import Outcome
from tests.acceptance.seatline import Seatline

PATIENCE_S = 25.0


class OtherGateway:
    """The process, seen from outside.

    Args:
        seatline: whose actors it calls.
        actors: names of those that it believes in.
    """

    def __init__(self, seatline: Seatline, *actors: str) -> None:
        self._seatline = seatline
        self._actors = actors
        self._process: asyncio.subprocess.Process

    async def __aenter__(self) -> Self:
        self._process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "tests.faults.other_gateway",
            *self._actors,
            env=self._seatline.environment,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
        )
        async with asyncio.timeout(30):
            assert await self._line() == b"ready"
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        await self._process.wait()

    async def enroll(self, wanted: Sequence[tuple[int, int, str]]) -> list[tuple[str, int | None, int | None]]:
        """Enrol students in sections under keys.

        Returns:
            of each the code, the enrolment and the place.
        """
        assert self._process.stdin is not None
        self._process.stdin.write(orjson.dumps(wanted) + b"\n")
        return [tuple(one) for one in orjson.loads(await self._line())]

    async def _line(self) -> bytes:
        assert self._process.stdout is not None
        return (await self._process.stdout.readline()).strip()


async def _serve(actors: tuple[str, ...]) -> None:
    from cluster.config.runfile import read_run_file
    from cluster.config.settings import plain_postgres_url, read_settings
    from cluster.processes import deployment
    from cluster.processes.node import NodeConfig

    settings = read_settings()
    assert settings.database_url is not None and settings.redis_url is not None
    run = read_run_file(settings.home)
    assert run is not None and run.ray_token_path is not None
    os.environ["RAY_AUTH_TOKEN_PATH"] = run.ray_token_path
    await deployment.connect_to_ray(run.ray_address, lambda _step, _seconds: None)
    database_url = plain_postgres_url(settings.database_url.get_secret_value())
    opened = NodeConfig(settings, database_url, settings.redis_url.get_secret_value(), "", actors).open_gateway()
    print("ready", flush=True)

    async def enroll(student_id: int, section_id: int, key: str) -> Outcome:
        async with asyncio.timeout(PATIENCE_S):
            while True:
                envelope = Envelope(Enroll(section_id, student_id, True), key, True, True)
                reply = await opened.gateway.submit(envelope)
                if reply.outcome is not None:
                    return reply.outcome

    while line := await asyncio.to_thread(sys.stdin.buffer.readline):
        outcomes = await asyncio.gather(*(enroll(*one) for one in orjson.loads(line)))
        answer: list[Any] = [(one.code, one.enrollment_id, one.place) for one in outcomes]
        sys.stdout.buffer.write(orjson.dumps(answer) + b"\n")
        sys.stdout.buffer.flush()
    await opened.close()
    await deployment.stop_ray()


if __name__ == "__main__":
    asyncio.run(_serve(tuple(sys.argv[1:])))
