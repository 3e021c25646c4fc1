"""Redis as far as leases need it: keys that expire in simulated time, and the real Lua scripts."""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Awaitable, Callable
from typing import Any

import lupa.lua51 as lua
from redis.exceptions import ConnectionError as RedisConnectionError

from persistence.redis.breaker import RedisBreaker
from tests.simulation.chaos import Chaos
from tests.simulation.process import Process

Script = Callable[..., Awaitable[object]]


class SimulatedRedis:
    """The server."""

    def __init__(self, chaos: Chaos) -> None:
        self.chaos = chaos
        self.is_up = True
        self._values: dict[bytes, tuple[bytes, float | None]] = {}

    def flush(self) -> None:
        """FLUSHALL."""
        self._values.clear()

    def call(self, command: bytes, key: bytes, *arguments: Any) -> object:
        """What ``redis.call`` does in a script, for the commands that the lease uses."""
        now = asyncio.get_running_loop().time()
        value, expires_at = self._values.get(key, (None, None))
        if expires_at is not None and expires_at <= now:
            del self._values[key]
            value = None
        match command, arguments:
            case b"GET", ():
                return value if value is not None else False  # nil is false to a script
            case b"EXISTS", ():
                return int(value is not None)
            case b"DEL", ():
                return int(self._values.pop(key, None) is not None)
            case b"SET", (new,):
                self._values[key] = (new, None)
            case b"SET", (new, b"PX", milliseconds):
                self._values[key] = (new, now + int(milliseconds) / 1000)
            case _:
                raise NotImplementedError(f"{command!r} {arguments}")
        return b"OK"


class SimulatedClient:
    """A connection of one process, with the few methods of ``redis.asyncio.Redis`` that the lease uses."""

    def __init__(self, server: SimulatedRedis, process: Process) -> None:
        self._server = server
        self._process = process

    def register_script(self, text: str) -> Script:
        """See ``redis.asyncio.Redis``."""
        compiled = _compiled(text)

        async def run(*, keys: list[str], args: list[str | int]) -> object:
            packed = [str(one).encode() for one in keys], [str(one).encode() for one in args]
            return await self._ask(lambda: compiled(self._server.call, *packed))

        return run

    async def set(self, key: str, value: bytes, *, px: int) -> None:
        """See ``redis.asyncio.Redis``."""
        await self._ask(lambda: self._server.call(b"SET", key.encode(), value, b"PX", px))

    async def delete(self, key: str) -> None:
        """See ``redis.asyncio.Redis``."""
        await self._ask(lambda: self._server.call(b"DEL", key.encode()))

    async def aclose(self) -> None:
        """Nothing to close."""

    async def _ask(self, work: Callable[[], object]) -> object:
        await self._process.edge()
        await self._server.chaos.latency()
        if not self._server.is_up:
            raise RedisConnectionError("Redis is away")
        answer = work()
        await self._server.chaos.latency()
        await self._process.edge()
        return answer


class SimulatedBreaker(RedisBreaker):
    """The real breaker, around a simulated client."""

    def __init__(self, server: SimulatedRedis, process: Process) -> None:
        super().__init__("redis://simulated", "leases", monotonic=process.monotonic)
        self.client = SimulatedClient(server, process)  # type: ignore[assignment]

    async def close(self) -> None:
        """Nothing to close."""


@functools.cache
def _runtime() -> Any:
    return lua.LuaRuntime(encoding=None)  # type: ignore[call-arg]


@functools.cache
def _compiled(text: str) -> Callable[..., object]:
    """The script as a function of the server's ``call``, KEYS and ARGV."""
    runtime = _runtime()
    source = f"local call, KEYS, ARGV = ... local redis = {{call = function(...) return call(...) end}} {text}"
    function = runtime.compile(source.encode())

    def run(call: Callable[..., object], keys: list[bytes], args: list[bytes]) -> object:
        answer = function(call, runtime.table_from(keys), runtime.table_from(args))
        return list(answer.values()) if lua.lua_type(answer) == "table" else answer

    return run
