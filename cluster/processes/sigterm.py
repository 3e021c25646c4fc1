"""SIGTERM in a process of Ray: runs a callback on the event loop at once, in place of Ray's handler.

The main thread of such a process waits inside Ray, and a Python handler is called only when that thread next runs
Python code. Ray's own handler then refuses all further calls and waits for those under way. In a server under load that
takes half a minute, after which connections break.

Handlers can only be set in the main thread. Ray creates actors in another thread, but imports their classes in the main
one. So a module with such an actor calls ``prepare`` when it is imported.
"""

from __future__ import annotations

import asyncio
import signal
import socket
import threading
from collections.abc import Callable
from types import FrameType

import ray
import ray._private.worker

_arrived: socket.socket | None = None
_is_handled = False


def prepare() -> None:
    """Get ready for ``on_sigterm``. Outside the main thread of a Ray process this does nothing."""
    global _arrived  # noqa: PLW0603  (there is one handler of a signal in a process)
    is_worker = ray._private.worker.global_worker.mode == ray.WORKER_MODE
    if not is_worker or threading.current_thread() is not threading.main_thread() or _arrived is not None:
        return
    arrived, written = socket.socketpair()
    for end in (arrived, written):
        end.setblocking(False)
    before = signal.set_wakeup_fd(written.fileno(), warn_on_full_buffer=False)
    if before != -1:  # something else listens already
        signal.set_wakeup_fd(before)
        return
    written.detach()
    rays_own = signal.getsignal(signal.SIGTERM)

    def handler(number: int, frame: FrameType | None) -> None:
        if not _is_handled and callable(rays_own):
            rays_own(number, frame)

    signal.signal(signal.SIGTERM, handler)
    _arrived = arrived


def on_sigterm(callback: Callable[[], None]) -> bool:
    """Have ``callback`` called on the running loop when SIGTERM arrives, in place of Ray's handler.

    Returns:
        whether it will be called: not if ``prepare`` did nothing.
    """
    global _is_handled  # noqa: PLW0603
    arrived = _arrived
    if arrived is None:
        return False

    def read() -> None:
        if signal.SIGTERM in arrived.recv(64):
            callback()

    asyncio.get_running_loop().add_reader(arrived, read)
    _is_handled = True
    return True
