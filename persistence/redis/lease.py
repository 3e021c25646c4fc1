"""Leases of sections, in Redis. They keep actors from competing for a section; only the epoch in Postgres is a fence.

``lease:section:{id}`` holds ``{actor}|{incarnation}`` and is valid while ``alive:{actor}:{incarnation}`` exists. So one
heartbeat renews all leases of an actor, and when its one key is gone, all have ended. ``dead:{actor}`` ends them too,
for an actor on a node that was given up, which may still run, cut off from everything but Redis. The scripts read keys
that are not declared, because their names are in the leases: fine on one Redis with replicas, not on a Redis Cluster.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from contextlib import suppress
from typing import cast

from redis.asyncio import Redis

from persistence.redis.breaker import TIMEOUT_S, RedisAwayError, RedisBreaker

log = logging.getLogger(__name__)

# A value of another type than ours is no lease, and no error that would count as an outage.
GET = """
local function get(key)
    local is_text, value = pcall(redis.call, 'GET', key)
    return is_text and value
end
"""

# KEYS: leases. ARGV: actor, incarnation, life of the heartbeat in ms, and actors whose leases do not count.
# Returns index, actor, index, actor, ...
ACQUIRE = f"""{GET}
local ghosts = {{}}
for index = 4, #ARGV do ghosts[ARGV[index]] = true end
redis.call('SET', 'alive:' .. ARGV[1] .. ':' .. ARGV[2], '1', 'PX', ARGV[3])
local mine = ARGV[1] .. '|' .. ARGV[2]
local alive, others = {{}}, {{}}
for index, key in ipairs(KEYS) do
    local holder = get(key)
    local other = nil
    if holder and holder ~= mine then
        local actor, incarnation = string.match(holder, '^(.*)|(.*)$')
        -- An older incarnation of the same actor loses its leases at once, alive or not.
        if actor and actor ~= ARGV[1] and not ghosts[actor] then
            if alive[holder] == nil then
                alive[holder] = redis.call('EXISTS', 'alive:' .. actor .. ':' .. incarnation)
                -- One that the controller has given up does not count, even if it still sends heartbeats.
                if redis.call('EXISTS', 'dead:' .. actor) == 1 then alive[holder] = 0 end
            end
            if alive[holder] == 1 then other = actor end
        end
    end
    if other then
        others[#others + 1] = index
        others[#others + 1] = other
    elseif holder ~= mine then
        redis.call('SET', key, mine)
    end
end
return others
"""

# KEYS: leases. ARGV: actor, incarnation.
RELEASE = f"""{GET}
local mine = ARGV[1] .. '|' .. ARGV[2]
for _, key in ipairs(KEYS) do
    if get(key) == mine then redis.call('DEL', key) end
end
return 0
"""

DEAD_S = 86_400
"""How long a given-up actor is remembered. Its name is not used again: it contains the id of its node."""

CLOSE_PAUSES_S = (0.0, 0.2, 0.4)
"""Before each try to end all leases. Worth several tries: until the leases end, no other actor takes the sections."""

KNOWN_S = 5.0
"""How long a holder of leases counts as existing once it was looked up."""
LOOKED_UP_MAX = 8
"""Holders that are looked up for one call: a turn waits for it. The others count as existing until the next."""

Exists = Callable[[str], Awaitable[bool]]
"""Whether there is an actor of this name. True as well if that cannot be known now. Never raises."""

KEYS_PER_CALL = 2000
"""A script blocks Redis while it runs; for this many leases, a few milliseconds."""


class RedisLease:
    """The leases of one actor. Implements ``allocator.ports.Lease``.

    Args:
        redis_url: where Redis is.
        actor: the actor's name, stable across restarts. Other actors get it when they ask for a section of this one.
        incarnation: unique to this process of the actor. Neither may contain ``|``.
        ttl_ms: how long after its last heartbeat an actor counts as alive.
        exists: looks up the holders of leases, since anybody who can write to Redis can name anything there. If it is
            None, whatever is named exists.
        breaker: the client to use instead of a new one for ``redis_url``.
    """

    def __init__(
        self,
        redis_url: str,
        actor: str,
        incarnation: str,
        ttl_ms: int = 5000,
        *,
        exists: Exists | None = None,
        timeout_s: float = TIMEOUT_S,
        breaker: RedisBreaker | None = None,
    ) -> None:
        if "|" in actor + incarnation:
            raise ValueError("neither actor nor incarnation may contain '|'")
        self._actor = actor
        self._incarnation = incarnation
        self._ttl_ms = ttl_ms
        self._redis = breaker or RedisBreaker(redis_url, "leases", timeout_s=timeout_s, connections_max=4)
        self._acquire = self._redis.client.register_script(ACQUIRE)
        self._release = self._redis.client.register_script(RELEASE)
        self._exists = exists
        self._known_until: dict[str, float] = {}
        self._to_release: set[int] = set()
        self._heart: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Send a first heartbeat, and more from a background task."""
        await self._beat()
        self._heart = asyncio.create_task(self._keep_beating(), name=f"heartbeat of {self._actor}")

    async def close(self) -> None:
        """End all leases at once. While Redis is away they end ``ttl_ms`` after the last heartbeat."""
        if self._heart is not None:
            self._heart.cancel()
            with suppress(asyncio.CancelledError):
                await self._heart
        for pause_s in CLOSE_PAUSES_S:
            await asyncio.sleep(pause_s)
            with suppress(RedisAwayError):
                await self._redis.call(self._delete_heartbeat)
                break
        await self._redis.close()

    async def acquire(self, section_ids: Sequence[int]) -> Mapping[int, str]:
        """Take the leases of sections that no living actor holds. One that does not exist holds none.

        Returns:
            the names of the actors that hold the others, by section; empty while Redis is away: then only the epoch
            protects a section.
        """
        owners: dict[int, str] = {}
        with suppress(RedisAwayError):
            for start in range(0, len(section_ids), KEYS_PER_CALL):
                owners.update(await self._acquire_some(section_ids[start : start + KEYS_PER_CALL]))
        self._to_release.difference_update(section_ids)
        return owners

    async def release(self, section_ids: Sequence[int]) -> bool:
        """Give up leases that are mine. While Redis is away, the next heartbeat that gets through does it.

        Returns:
            whether it is done.
        """
        self._to_release.update(section_ids)
        try:
            await self._release_due()
        except RedisAwayError:
            return False
        return True

    async def _acquire_some(self, section_ids: Sequence[int]) -> dict[int, str]:
        owners = await self._acquire_from(section_ids, ())
        ghosts = await self._ghosts_among(set(owners.values()))
        if ghosts:
            log.warning("leases of actors that do not exist are not heeded: %s", sorted(ghosts))
            haunted = [section_id for section_id, owner in owners.items() if owner in ghosts]
            owners = {section_id: owner for section_id, owner in owners.items() if owner not in ghosts}
            owners.update(await self._acquire_from(haunted, ghosts))
        return {section_id: _text(owner) for section_id, owner in owners.items()}

    async def _acquire_from(self, section_ids: Sequence[int], ghosts: Collection[bytes]) -> dict[int, bytes]:
        """The owners of what could not be acquired, as they are named in the leases: junk need not be text."""
        args: list[str | int | bytes] = [self._actor, self._incarnation, self._ttl_ms, *ghosts]
        answer = await self._redis.call(lambda _: self._acquire(keys=_keys(section_ids), args=args))
        pairs = cast("list[int | bytes]", answer)
        return {
            section_ids[cast("int", index) - 1]: cast("bytes", actor)
            for index, actor in zip(pairs[::2], pairs[1::2], strict=True)
        }

    async def _ghosts_among(self, owners: Collection[bytes]) -> set[bytes]:
        """Those of these actors that do not exist. What exists is remembered, for moves send many requests around."""
        if self._exists is None:
            return set()
        now = time.monotonic()
        self._known_until = {name: until for name, until in self._known_until.items() if until > now}
        unknown = [owner for owner in owners if _text(owner) not in self._known_until][:LOOKED_UP_MAX]
        exist = await asyncio.gather(*(self._exists(_text(owner)) for owner in unknown))
        for owner, does_exist in zip(unknown, exist, strict=True):
            if does_exist:
                self._known_until[_text(owner)] = now + KNOWN_S
        return {owner for owner, does_exist in zip(unknown, exist, strict=True) if not does_exist}

    async def _release_due(self) -> None:
        while self._to_release:
            some = list(self._to_release)[:KEYS_PER_CALL]
            await self._release_some(some)
            self._to_release.difference_update(some)

    async def _release_some(self, section_ids: list[int]) -> None:
        args: list[str | int] = [self._actor, self._incarnation]
        await self._redis.call(lambda _: self._release(keys=_keys(section_ids), args=args))

    async def _keep_beating(self) -> None:
        while True:
            await asyncio.sleep(self._ttl_ms / 3000)
            await self._beat()

    async def _beat(self) -> None:
        with suppress(RedisAwayError):
            await self._redis.call(self._write_heartbeat)
            await self._release_due()

    async def _write_heartbeat(self, redis: Redis) -> None:
        await redis.set(self._alive_key, b"1", px=self._ttl_ms)

    async def _delete_heartbeat(self, redis: Redis) -> None:
        await redis.delete(self._alive_key)

    @property
    def _alive_key(self) -> str:
        return f"alive:{self._actor}:{self._incarnation}"


def dead_key(actor: str) -> str:
    """The key that exists if an actor was given up, so that its leases no longer count."""
    return f"dead:{actor}"


def _text(name: bytes) -> str:
    return name.decode(errors="backslashreplace")


def _keys(section_ids: Sequence[int]) -> list[str]:
    return [f"lease:section:{section_id}" for section_id in section_ids]
