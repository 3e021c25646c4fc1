"""SIGTERM in a process of Ray: told to the event loop at once.

The main thread of such a process waits inside Ray, and no handler of Python's is called before it next does something
in Python. Ray then refuses all further calls and waits for those under way, which in a server under load takes half a
minute, at the end of which connections break. So the signal goes to whoever listens here, and Ray's handler is called
only if nobody does.

Handlers can be set in the main thread only. Ray makes an actor on another one, but imports its class on the main one:
so this is done when a module that needs it is imported.
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
_is_heeded = False


def prepare() -> None:
    """Be ready for ``heed``. Only in a process of Ray, on its main thread; anywhere else nothing happens."""
    global _arrived  # noqa: PLW0603  (there is one handler of a signal in a process)
    is_worker = ray._private.worker.global_worker.mode == ray.WORKER_MODE
    if not is_worker or threading.current_thread() is not threading.main_thread() or _arrived is not None:
        return
    arrived, written = socket.socketpair()
    for end in (arrived, written):
        end.setblocking(False)
    before = signal.set_wakeup_fd(written.fileno(), warn_on_full_buffer=False)
    if before != -1:  # somebody listens already
        signal.set_wakeup_fd(before)
        return
    written.detach()
    rays_own = signal.getsignal(signal.SIGTERM)

    def handler(number: int, frame: FrameType | None) -> None:
        if not _is_heeded and callable(rays_own):
            rays_own(number, frame)

    signal.signal(signal.SIGTERM, handler)
    _arrived = arrived


def heed(tell: Callable[[], None]) -> bool:
    """Have ``tell`` called on the running loop when SIGTERM comes, in place of what Ray does.

    Returns:
        whether it will be: not if `prepare` could do nothing.
    """
    global _is_heeded  # noqa: PLW0603
    arrived = _arrived
    if arrived is None:
        return False

    def read() -> None:
        if signal.SIGTERM in arrived.recv(64):
            tell()

    asyncio.get_running_loop().add_reader(arrived, read)
    _is_heeded = True
    return True
