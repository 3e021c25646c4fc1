"""The API on fakes, behind a real socket."""

from __future__ import annotations

import asyncio
import io
import json
import logging
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass
from typing import Any

import pytest
import structlog
from aiohttp import ClientResponse, web
from aiohttp.test_utils import TestClient, TestServer
from argon2 import PasswordHasher
from pytest_aiohttp import AiohttpClient

from allocator.model.read_models import Account
from api.app import build_app, make_express_lane
from api.edge.aiohttp_seam import CustomRunner
from api.edge.error_answers import ERROR_ANSWERS, PoliteConnection
from api.edge.server import EdgeRunner
from api.edge.shedding import SHEDDING
from api.monitoring.quiet_logs import quiet_bad_requests
from api.services import ApiConfig
from api.signin.passwords import Passwords
from api.signin.tokens import ACCESS_TOKENS
from cluster.config.logs import configure_logging, configure_structlog
from tests.unit.api.fakes import SECRET, STUDENT, World

QUICK_HASHER = PasswordHasher(time_cost=1, memory_cost=8, parallelism=1)


@dataclass
class Answer:
    """What came back, read to its end."""

    status: int
    headers: Any
    text: str
    body: Any

    @property
    def code(self) -> str:
        """The code of a problem, checked to be one."""
        assert self.headers["Content-Type"] == "application/problem+json"
        assert self.body["status"] == self.status
        assert self.body["request_id"] == self.headers["X-Request-Id"]
        return str(self.body["code"])


class Api:
    """A client that speaks for any account."""

    def __init__(self, client: TestClient[web.Request, None], app: web.Application, world: World) -> None:
        self.client = client
        self.app = app
        self.world = world

    def token(self, account: Account) -> str:
        return self.app[ACCESS_TOKENS].issue(account)

    async def ask(self, method: str, path: str, who: Account | str | None = STUDENT, **options: Any) -> Answer:
        """Send a request in the name of an account, with a token as it is, or with none."""
        headers = dict(options.pop("headers", {}))
        if who is not None:
            headers["Authorization"] = f"Bearer {who if isinstance(who, str) else self.token(who)}"
        return await read(await self.client.request(method, path, headers=headers, **options))

    async def enroll(self, body: Any = None, **options: Any) -> Answer:
        return await self.ask("POST", "/api/enrollments", json=body or {"section_id": 7}, **options)

    async def post(self, path: str, body: Any, **options: Any) -> Answer:
        return await self.ask("POST", path, None, json=body, **options)

    async def raw(self, request: bytes) -> bytes:
        """Send bytes that no client would, and read until the server closes."""
        reader, writer = await asyncio.open_connection(self.client.host, self.client.port)
        try:
            writer.write(request)
            async with asyncio.timeout(10):
                return await reader.read()
        finally:
            writer.close()

    async def metrics(self) -> str:
        return (await self.ask("GET", "/metrics", None)).text


async def read(response: ClientResponse) -> Answer:
    text = await response.text()
    body = await response.json(content_type=None) if "json" in response.headers.get("Content-Type", "") else None
    return Answer(response.status, response.headers, text, body)


MakeApi = Callable[..., Awaitable[Api]]


class PoliteRunner(CustomRunner):
    """Serves by the usual handlers alone."""

    __slots__ = ()

    def __init__(self, app: web.Application, **options: Any) -> None:
        super().__init__(
            app, lambda server, _, options: PoliteConnection(server, app[ERROR_ANSWERS], **options), **options
        )


class PoliteServer(TestServer):
    """Serves by the usual handlers alone."""

    async def _make_runner(self, **options: Any) -> web.AppRunner:
        options.pop("handler_cancellation", None)
        return PoliteRunner(self.app, **options)


class ExpressServer(TestServer):
    """As ``cluster/processes/api_server.py`` serves: with the protocol that sheds and has an express lane."""

    async def _make_runner(self, **options: Any) -> web.AppRunner:
        options.pop("handler_cancellation", None)
        return EdgeRunner(self.app, self.app[SHEDDING], make_express_lane(self.app), 100, **options)


@pytest.fixture(params=[PoliteServer, ExpressServer], ids=["aiohttp", "express"])
def server_class(request: pytest.FixtureRequest) -> type[TestServer]:
    """Both ways on which a request may go."""
    kind: type[TestServer] = request.param
    return kind


@pytest.fixture
def make_api(aiohttp_client: AiohttpClient, server_class: type[TestServer]) -> MakeApi:
    """Makes an API with the given settings."""

    async def make(**config: Any) -> Api:
        world = World()
        app = build_app(world.services(ApiConfig(SECRET, **config)), passwords=Passwords(hasher=QUICK_HASHER))
        server = server_class(app)
        await server.start_server(access_log=None, auto_decompress=False)
        return Api(await aiohttp_client(server), app, world)

    return make


@pytest.fixture
async def api(make_api: MakeApi) -> Api:
    """An API with the default settings."""
    return await make_api()


Logged = Callable[[], list[dict[str, Any]]]


@pytest.fixture
def logged() -> Iterator[Logged]:
    """Logging as it is in production, and what was logged since: one JSON object a line, or it fails."""
    root = logging.getLogger()
    before = root.handlers, root.level
    configure_logging("INFO")
    configure_structlog()
    quiet_bad_requests()
    stream = io.StringIO()
    (handler,) = root.handlers
    assert isinstance(handler, logging.StreamHandler)
    handler.setStream(stream)
    yield lambda: [json.loads(line) for line in stream.getvalue().splitlines()]
    root.handlers, root.level = before
    structlog.reset_defaults()
