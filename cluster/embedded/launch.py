"""Runs another program: drops root, asks the kernel to end it with its parent, then execs. A script, never imported.

    launch.py PARENT_PID DEATH_SIGNAL UID GID PROGRAM ARGUMENT...      (UID and GID "-": keep the user)

Doing this in a fresh interpreter and not between fork and exec keeps it safe in a process with threads. The order
matters: changing the user forgets the death signal.
"""

import ctypes
import os
import signal
import sys

_PR_SET_PDEATHSIG = 1


def main() -> None:
    parent, death_signal, uid, gid, *command = sys.argv[1:]
    # Python ignores these two, and what is ignored stays so over exec.
    for name in (signal.SIGPIPE, signal.SIGXFSZ, signal.SIGINT):
        signal.signal(name, signal.SIG_DFL)
    if uid != "-":
        os.setgroups([int(gid)])
        os.setgid(int(gid))
        os.setuid(int(uid))
    if sys.platform == "linux":
        libc = ctypes.CDLL(None, use_errno=True)
        if libc.prctl(_PR_SET_PDEATHSIG, int(death_signal), 0, 0, 0) != 0:
            sys.exit(f"prctl: {os.strerror(ctypes.get_errno())}")
        # The parent may have ended before the request was in place.
        if os.getppid() != int(parent):
            sys.exit("the parent has ended")
    os.execv(command[0], command)  # noqa: S606


if __name__ == "__main__":
    main()
