"""The notice that an EC2 spot instance will end, from a metadata service that requires tokens."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from aiohttp import web

from cluster.aws.spot import SpotWatch, is_ec2


class Metadata:
    """What the service would say."""

    def __init__(self) -> None:
        self.tokens = {"one"}
        self.action: str | None = None
        self.lifecycle = "InService"
        self.url = ""

    async def token(self, request: web.Request) -> web.Response:
        assert int(request.headers["X-aws-ec2-metadata-token-ttl-seconds"]) > 0
        return web.Response(text=min(self.tokens))

    async def read(self, request: web.Request) -> web.Response:
        if request.headers.get("X-aws-ec2-metadata-token") not in self.tokens:
            return web.Response(status=401)
        if request.path.endswith("instance-action"):
            return web.Response(status=404) if self.action is None else web.Response(text=self.action)
        return web.Response(text=self.lifecycle)


@pytest.fixture
async def metadata() -> AsyncIterator[Metadata]:
    """The service."""
    service = Metadata()
    app = web.Application()
    app.router.add_put("/latest/api/token", service.token)
    app.router.add_get("/latest/meta-data/{path:.*}", service.read)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    service.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    yield service
    await runner.cleanup()


async def ignore(_reason: str) -> None:
    """Nobody leaves."""


async def test_a_spot_notice_is_told_once(metadata: Metadata) -> None:
    told: list[str] = []

    async def leave(reason: str) -> None:
        told.append(reason)
        if len(told) == 1:
            raise TimeoutError("the controller is away")

    watching = asyncio.create_task(SpotWatch(metadata.url, leave, interval_s=0.01).run())
    await asyncio.sleep(0.05)
    assert told == []
    metadata.action = '{"action": "terminate", "time": "2027-01-15T16:00:00Z"}'
    async with asyncio.timeout(3):
        await watching
    assert len(told) == 2, "until somebody has heard of it"
    assert "terminate" in told[0]


async def test_a_scale_in_is_a_notice_too_and_a_token_that_ended_is_renewed(metadata: Metadata) -> None:
    watch = SpotWatch(metadata.url, ignore)
    assert await watch.notice() is None
    metadata.tokens = {"two"}
    metadata.lifecycle = "Terminated"
    assert await watch.notice() == "its auto-scaling group takes it away"


async def test_a_service_that_is_away_ends_nothing(metadata: Metadata) -> None:
    watching = asyncio.create_task(SpotWatch("http://127.0.0.1:1", ignore, interval_s=0.01).run())
    await asyncio.sleep(0.05)
    assert not watching.done()
    watching.cancel()


def test_what_says_that_it_is_ec2_is(tmp_path: Path) -> None:
    vendor = tmp_path / "sys_vendor"
    assert not is_ec2(vendor)
    vendor.write_text("Amazon EC2\n")
    assert is_ec2(vendor)
