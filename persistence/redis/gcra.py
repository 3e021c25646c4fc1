"""The generic cell rate algorithm: a leaky bucket kept as a single number.

That number is the *theoretical arrival time* (tat): when the bucket would be empty again. A hit moves it one interval
on; a hit is refused while that would put it more than ``burst`` intervals ahead of now. Twice the same arithmetic:
`hit` here, and `HIT_LUA` for Redis, where reading, deciding and writing must be one step. A test holds them together.
"""

from __future__ import annotations

from typing import NamedTuple


class HitResult(NamedTuple):
    """The new tat, and how many seconds to wait before another try (None: allowed)."""

    tat: float
    wait_s: float | None


def hit(tat: float | None, now: float, rate_per_s: float, burst: int) -> HitResult:
    """Take one hit at ``now``.

    Args:
        tat: what the last verdict said, None for a first hit. ``now`` and it are of one clock, in seconds.
        now: the time.
        rate_per_s: hits per second that may go on for ever.
        burst: hits that may come at once after a rest.
    """
    interval = 1 / rate_per_s
    start = now if tat is None else max(tat, now)
    # Compared as differences: added to a time they would be rounded, and a first hit could be refused.
    wait_s = (start - now) - (burst - 1) * interval
    if wait_s > 0:
        return HitResult(start, wait_s)
    return HitResult(start + interval, None)


# KEYS: the bucket. ARGV: interval in us, burst. Returns the wait in us, or -1. Times are whole microseconds, which
# a Lua number holds exactly; written with a format because Lua would print 1.7e+15.
HIT_LUA = """
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
local interval, burst = tonumber(ARGV[1]), tonumber(ARGV[2])
local start = math.max(tonumber(redis.call('GET', KEYS[1]) or '0'), now)
local wait = (start - now) - (burst - 1) * interval
if wait > 0 then return wait end
local tat = start + interval
redis.call('SET', KEYS[1], string.format('%.0f', tat), 'PX', math.ceil((tat - now) / 1000))
return -1
"""
