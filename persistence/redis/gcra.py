"""The generic cell rate algorithm: a leaky bucket kept as a single number.

That number is the *theoretical arrival time* (tat): when the bucket will be empty again. A hit moves it forward by one
interval, and is refused if that would put it more than ``burst`` intervals ahead of now. The arithmetic is here twice:
as `hit`, and as `HIT_LUA` for Redis, where reading, deciding and writing must be one step. A test compares the two.
"""

from __future__ import annotations

from typing import NamedTuple


class HitResult(NamedTuple):
    """The new tat, and how many seconds to wait before another try; None if the hit is allowed."""

    tat: float
    wait_s: float | None


def hit(tat: float | None, now: float, rate_per_s: float, burst: int) -> HitResult:
    """Take one hit at ``now``.

    Args:
        tat: of the last result, None for a first hit. In seconds, on the same clock as ``now``.
        now: the time.
        rate_per_s: sustained rate, in hits per second.
        burst: hits that may come at once after a pause.
    """
    interval = 1 / rate_per_s
    start = now if tat is None else max(tat, now)
    # Differences are compared: a sum with a large time would be rounded, and a first hit could be refused.
    wait_s = (start - now) - (burst - 1) * interval
    if wait_s > 0:
        return HitResult(start, wait_s)
    return HitResult(start + interval, None)


def peek(tat: float | None, now: float, rate_per_s: float, burst: int) -> float | None:
    """How long a hit would have to wait; None if it would be allowed. Nothing is taken."""
    return hit(tat, now, rate_per_s, burst).wait_s


# KEYS: the bucket. ARGV: interval in us, burst. Returns the wait in us, or -1. Times are whole microseconds, which
# a Lua number holds exactly; they are formatted because Lua would write 1.7e+15. What no hit can have left there is no
# bucket: a value of another type, no number, a time further ahead than a full bucket.
WAIT_LUA = """
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
local interval, burst = tonumber(ARGV[1]), tonumber(ARGV[2])
local is_text, kept = pcall(redis.call, 'GET', KEYS[1])
local start = is_text and kept and tonumber(kept) or now
if not (start >= now and start <= now + burst * interval) then start = now end
local wait = (start - now) - (burst - 1) * interval
if wait > 0 then return wait end
"""

HIT_LUA = f"""{WAIT_LUA}
local tat = start + interval
redis.call('SET', KEYS[1], string.format('%.0f', tat), 'PX', math.ceil((tat - now) / 1000))
return -1
"""

PEEK_LUA = f"""{WAIT_LUA}
return -1
"""
