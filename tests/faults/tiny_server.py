"""A server that answers with its name: ``python -m tests.faults.tiny_server NAME ADDRESS``; SIGTERM stops it."""

from __future__ import annotations

import asyncio
import sys

from aiohttp import web

from cluster.processes.api_server import KEEP_ALIVE_S

WORK_S = 0.02


async def health(_request: web.Request) -> web.Response:
    return web.Response(text="ok")


async def work(request: web.Request) -> web.Response:
    await request.read()
    await asyncio.sleep(WORK_S)
    return web.Response(text=sys.argv[1])


async def echo(request: web.Request) -> web.WebSocketResponse:
    socket = web.WebSocketResponse()
    await socket.prepare(request)
    async for message in socket:
        await socket.send_str(message.data)
    return socket


def main() -> None:
    app = web.Application()
    app.add_routes(
        [
            web.get("/health", health),
            web.post("/work", work),
            web.get("/metrics", health),
            web.get("/ws", echo),
        ]
    )
    web.run_app(app, host=sys.argv[2], port=8080, print=None, access_log=None, keepalive_timeout=KEEP_ALIVE_S)


if __name__ == "__main__":
    main()
