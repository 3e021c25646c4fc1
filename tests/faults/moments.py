"""Traps in the traffic to Postgres and Redis, for faults at the worst moments."""

from __future__ import annotations

import os
import signal
from collections.abc import Awaitable, Callable

from tests.faults.stand import Stand, owner_of
from tests.faults.tcp_proxy import Link, Trap, Way

COMMIT = b"Q\x00\x00\x00\x0bCOMMIT\x00"
"""As only the batch store sends it; everybody else's ends with a semicolon."""

COMMITTED = b"C\x00\x00\x00\x0bCOMMIT\x00"
"""Postgres' reply to it, to the byte the same for every client that sends no semicolon."""

FORGET_CACHE = b"seatline:seats:"
"""What an actor tells Redis between the commit of a turn and its answers."""


def actor_of(stand: Stand, link: Link) -> int:
    """The section actor whose connection this is."""
    pid = owner_of(link, stand.actor_pids())
    assert pid is not None, "the connection is no section actor's"
    return pid


def is_actors(stand: Stand) -> Callable[[Link], bool]:
    """Whether a connection is a section actor's."""
    return lambda link: owner_of(link, stand.actor_pids()) is not None


def killing(stand: Stand, *, then_lost: bool) -> Callable[[Link], Awaitable[None]]:
    """Kill the actor whose bytes these are. If ``then_lost`` they never arrive."""

    async def kill(link: Link) -> None:
        os.kill(actor_of(stand, link), signal.SIGKILL)
        link.is_cut = then_lost

    return kill


def before_commit(action: Callable[[Link], Awaitable[None]]) -> Trap:
    """All statements of a turn have been answered; its COMMIT is on the way."""
    return Trap(Way.TO_SERVER, COMMIT, action)


def after_commit(stand: Stand, action: Callable[[Link], Awaitable[None]]) -> Trap:
    """A turn is committed; the actor has not been told."""
    return Trap(Way.TO_CLIENT, COMMITTED, action, is_actors(stand))


def before_reply(stand: Stand, action: Callable[[Link], Awaitable[None]]) -> Trap:
    """A turn is committed and the actor knows; it is about to answer. For the proxy before Redis."""
    return Trap(Way.TO_SERVER, FORGET_CACHE, action, is_actors(stand))
