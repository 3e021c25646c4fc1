"""The user that runs Postgres when we are root: Postgres refuses to run as root."""

from __future__ import annotations

import os
import pwd
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from cluster.embedded.errors import ServiceStartError

_UNPRIVILEGED = ("nobody", "postgres", "daemon")

_CHECK = """
import os, sys
uid, gid, mode, *paths = sys.argv[1:]
os.setgroups([int(gid)]); os.setgid(int(gid)); os.setuid(int(uid))
sys.exit(not all(os.access(path, int(mode)) for path in paths))
"""


@dataclass(frozen=True)
class ServiceAccount:
    """A user of this machine."""

    name: str
    uid: int
    gid: int

    def can_pass(self, directory: Path) -> bool:
        """Whether this user gets to ``directory`` and to what is in it."""
        return self._may(os.X_OK, directory)

    def can_read(self, *paths: Path) -> bool:
        """Whether this user gets to all ``paths`` and may read and enter or run them."""
        return self._may(os.R_OK | os.X_OK, *paths)

    def _may(self, mode: int, *paths: Path) -> bool:
        # Asked of the kernel as that user, as only it knows every rule (parents, groups, access lists).
        command = [sys.executable, "-I", "-S", "-c", _CHECK, str(self.uid), str(self.gid), str(mode), *map(str, paths)]
        return subprocess.run(command, check=False, cwd="/", stdin=subprocess.DEVNULL).returncode == 0  # noqa: S603


def choose_account(data: Path) -> ServiceAccount | None:
    """The user to run Postgres as, with its data in ``data``.

    Returns:
        None for the present user, unless that is root.

    Raises:
        ServiceStartError: if the machine has no suitable user.
    """
    if os.geteuid() != 0:
        return None
    entries: list[pwd.struct_passwd] = []
    # Data that an ordinary user made stays that user's.
    if data.exists() and (owner := data.stat().st_uid) != 0:
        try:
            entries.append(pwd.getpwuid(owner))
        except KeyError as error:
            raise ServiceStartError(
                f"{data} belongs to user id {owner}, which this machine does not know: give it to a known user"
            ) from error
    for name in _UNPRIVILEGED:
        try:
            entries.append(pwd.getpwnam(name))
        except KeyError:
            continue
    for entry in entries:
        if entry.pw_uid != 0:
            return ServiceAccount(entry.pw_name, entry.pw_uid, entry.pw_gid)
    raise ServiceStartError(
        f"Postgres does not run as root and none of the users {', '.join(_UNPRIVILEGED)} exists: "
        "run Seatline as an ordinary user"
    )
