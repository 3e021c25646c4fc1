"""An API process from start to stop, on real services, with section actors whose answers the test controls."""

from __future__ import annotations

import asyncio
import gc
import logging
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence

import aiohttp
import pytest

from allocator.model.delivery import Envelope, Reply
from allocator.model.outcomes import Code, Outcome
from api.signin.tokens import AccessTokens
from cluster.config.settings import read_settings
from cluster.processes.api_server import ActorLink, ApiServer
from tests.unit.api.fakes import SECRET, STUDENT

pytestmark = pytest.mark.services


class SlowActors:
    """Section actors that answer when they are let go."""

    def __init__(self) -> None:
        self.asked = asyncio.Event()
        self.go = asyncio.Event()
        self.is_closed = False

    async def submit(self, envelope: Envelope, deadline_s: float | None = None) -> Reply:
        self.asked.set()
        await self.go.wait()
        return Reply(Outcome(Code.ENROLLED, envelope.command.needs.section_ids[0], 100))

    def send(self, envelope: Envelope, tell: Callable[[Reply], None]) -> None:
        submitted = asyncio.ensure_future(self.submit(envelope))
        submitted.add_done_callback(lambda done: tell(done.result()))

    async def connect(self) -> ActorLink:
        return ActorLink(self, self._collect, self._ping, lambda: 1, self._close)

    async def _collect(self) -> Sequence[Mapping[str, object]]:
        return [{"actor": "a-0", "inbox": 1}]

    async def _ping(self) -> None:
        pass

    async def _close(self) -> None:
        self.is_closed = True


@pytest.fixture(autouse=True)
def _leave_the_process_as_it_was() -> Iterator[None]:
    root = logging.getLogger()
    before = root.handlers, root.level, gc.get_threshold()
    yield
    root.handlers, root.level = before[:2]
    gc.set_threshold(*before[2])
    gc.unfreeze()


@pytest.fixture
def actors() -> SlowActors:
    return SlowActors()


def make_server(database_url: str, redis_url: str, actors: SlowActors, port: int = 0) -> ApiServer:
    return ApiServer(read_settings(port=port), database_url, redis_url, SECRET, actors.connect)


@pytest.fixture
async def http() -> AsyncIterator[aiohttp.ClientSession]:
    token = AccessTokens(SECRET, 900).issue(STUDENT)
    async with aiohttp.ClientSession(headers={"Authorization": f"Bearer {token}"}) as session:
        yield session


async def test_a_stop_finishes_what_is_under_way_and_takes_no_more(
    database_url: str, redis_url: str, actors: SlowActors, http: aiohttp.ClientSession
) -> None:
    server = make_server(database_url, redis_url, actors)
    url = f"http://127.0.0.1:{await server.start()}"
    async with http.get(f"{url}/ready") as ready:
        assert (ready.status, (await ready.json())["status"]) == (200, "ok")

    enrolling = asyncio.create_task(status_of(http, f"{url}/api/enrollments"))
    await actors.asked.wait()
    stopping = asyncio.create_task(server.stop(drain_s=0.3))
    await asyncio.sleep(0.1)
    async with http.get(f"{url}/ready") as ready:
        assert (ready.status, (await ready.json())["status"]) == (503, "draining")
        assert ready.headers["Connection"] == "close", "the client is to find another server for its next request"
    await asyncio.sleep(0.4)
    with pytest.raises(aiohttp.ClientConnectorError):
        async with aiohttp.ClientSession() as fresh:
            await fresh.get(f"{url}/health")
    assert not enrolling.done()
    assert not actors.is_closed, "what the request stands on stays until it is answered"
    actors.go.set()

    assert await enrolling == 201
    await stopping
    assert actors.is_closed


async def test_two_processes_share_a_port(
    database_url: str, redis_url: str, actors: SlowActors, http: aiohttp.ClientSession
) -> None:
    first = make_server(database_url, redis_url, actors)
    port = await first.start()
    second = make_server(database_url, redis_url, actors, port)

    assert await second.start() == port

    await first.stop()
    async with http.get(f"http://127.0.0.1:{port}/health") as health:
        assert health.status == 200
    await second.stop()


async def test_a_start_that_fails_lets_everything_go(database_url: str, redis_url: str, actors: SlowActors) -> None:
    taken = await asyncio.start_server(lambda *_: None, "127.0.0.1", 0)
    port = taken.sockets[0].getsockname()[1]

    with pytest.raises(OSError, match=str(port)):
        await make_server(database_url, redis_url, actors, port).start()

    assert actors.is_closed
    taken.close()


async def test_postgres_away_is_503_and_redis_away_is_degraded(
    database_url: str, redis_url: str, actors: SlowActors, http: aiohttp.ClientSession
) -> None:
    nowhere = "redis://127.0.0.1:1/0"
    no_redis = make_server(database_url, nowhere, actors)
    url = f"http://127.0.0.1:{await no_redis.start()}"
    async with http.get(f"{url}/ready") as ready, http.get(f"{url}/api/courses") as courses:
        assert (ready.status, (await ready.json())["status"]) == (200, "degraded")
        assert courses.status == 200
    await no_redis.stop()

    no_postgres = make_server("postgresql://nobody@127.0.0.1:1/nothing", redis_url, actors)
    url = f"http://127.0.0.1:{await no_postgres.start()}"
    async with http.get(f"{url}/ready") as ready, http.get(f"{url}/api/courses?q=x") as courses:
        assert (ready.status, (await ready.json())["status"]) == (503, "unavailable")
        assert (courses.status, (await courses.json())["code"]) == (503, "unavailable")
        assert int(courses.headers["Retry-After"]) >= 1
    await no_postgres.stop()


async def status_of(http: aiohttp.ClientSession, url: str) -> int:
    async with http.post(url, json={"section_id": 7}) as answer:
        return answer.status
