"""The HTTP limit: an aiohttp server that reads the same requests and always sends the same answer."""

from __future__ import annotations

import asyncio

from aiohttp import web

from allocator.model.delivery import Reply
from allocator.model.outcomes import Code, Outcome
from bench.peers.answers import answer_of
from bench.peers.environment import PeerEnvironment
from bench.peers.web_server import run, serve

ANSWER = answer_of(Reply(Outcome(Code.ENROLLED, 1, 1_000_001)))


async def echo(request: web.Request) -> web.Response:
    """Send the answer of every enrolment."""
    await request.read()
    return web.Response(body=ANSWER.body, status=ANSWER.status, content_type=ANSWER.content_type)


async def health(_request: web.Request) -> web.Response:
    """Answer that the server is up."""
    await asyncio.sleep(0)
    return web.json_response({"status": "ok"})


async def main() -> None:
    """Serve."""
    app = web.Application()
    app.router.add_post("/api/enrollments", echo)
    app.router.add_get("/health", health)
    app.router.add_get("/api/{path:.*}", echo_read)
    await serve(app, PeerEnvironment.read().port)


async def echo_read(_request: web.Request) -> web.Response:
    """Send the answer of every read, as long as that of a section."""
    return web.Response(body=READ_BODY, content_type="application/json")


READ_BODY = b'{"id":1,"course_id":1,"code":"A00","capacity":100,"enrolled":0,"available":100,"waitlisted":0}'

if __name__ == "__main__":
    run(main)
