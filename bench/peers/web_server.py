"""The HTTP server of a peer: aiohttp with one route, read and answered with as little work as aiohttp allows."""

from __future__ import annotations

import asyncio
import gc
import logging
import secrets
import signal
from collections.abc import Awaitable, Callable

import msgspec
import uvloop
from aiohttp import web

from allocator.model.commands import Enroll
from allocator.model.delivery import Reply
from api.http import problems
from api.schemas.enrollments import EnrollRequest
from api.signin.tokens import AccessTokens, InvalidTokenError
from bench.peers.answers import PeerAnswer, answer_of, problem

log = logging.getLogger(__name__)

EnrollOne = Callable[[Enroll, str, bool], Awaitable[Reply]]
"""Decides a request under its key. The answer is to be kept if the client chose the key, for it may ask again."""

_decode = msgspec.json.Decoder(EnrollRequest).decode


def build_app(tokens: AccessTokens, enroll_one: EnrollOne) -> web.Application:
    """``POST /api/enrollments`` decided by ``enroll_one``, and ``GET /health``."""

    async def enroll(request: web.Request) -> web.Response:
        try:
            principal = tokens.principal(request.headers.get("Authorization"))
        except InvalidTokenError:
            return _response(problem(problems.UNAUTHENTICATED))
        if principal.student_id is None:
            return _response(problem(problems.FORBIDDEN))
        try:
            wanted = _decode(await request.read())
        except msgspec.DecodeError:
            return _response(problem(problems.INVALID))
        key = request.headers.get("Idempotency-Key")
        command = Enroll(wanted.section_id, principal.student_id, wanted.join_waitlist)
        try:
            return _response(answer_of(await enroll_one(command, key or secrets.token_hex(16), key is not None)))
        except Exception:  # as any framework does: one request fails, the server goes on
            log.exception("a request failed")
            return _response(problem(problems.INTERNAL))

    async def health(_request: web.Request) -> web.Response:
        return web.json_response({"status": "ok"})

    app = web.Application(client_max_size=64 * 1024)
    app.router.add_post("/api/enrollments", enroll)
    app.router.add_get("/health", health)
    return app


def _response(answer: PeerAnswer) -> web.Response:
    return web.Response(body=answer.body, status=answer.status, content_type=answer.content_type)


async def serve(app: web.Application, port: int) -> None:
    """Serve until SIGTERM or SIGINT comes. Processes may share the port."""
    stopping = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stopping.set)
    runner = web.AppRunner(app, access_log=None, keepalive_timeout=75.0)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", port, backlog=2048, reuse_port=True).start()
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 50)
    await stopping.wait()
    await runner.cleanup()


def run(main: Callable[[], Awaitable[None]]) -> None:
    """Run a peer's main coroutine on uvloop."""
    logging.basicConfig(level=logging.WARNING)

    async def work() -> None:
        await main()

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(work())
