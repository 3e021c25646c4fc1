"""Creates the missing secrets of docker-compose.yml: ``python3 scripts/compose_secrets.py``. Standard library only.

They are files in .secrets, a directory that only its owner may enter. The files themselves are readable by all, since
Compose mounts them unchanged in containers, which run as other users.
"""

from __future__ import annotations

import secrets
import sys
from pathlib import Path

DIRECTORY = Path(__file__).resolve().parent.parent / ".secrets"
SECRET_BYTES = 48
RANDOM = ("ray-token", "jwt", "redis", "database-owner", "database-app")
ADDRESSES = {
    "redis-url": "redis://:{redis}@valkey:6379/0",
    "database-url": "postgresql://seatline_app:{database-app}@postgres:5432/seatline",
    "owner-database-url": "postgresql://seatline_owner:{database-owner}@postgres:5432/seatline",
}


def make_secrets(directory: Path) -> list[str]:
    """Make what is not there.

    Returns:
        the names of what was made.
    """
    directory.mkdir(mode=0o700, exist_ok=True)
    directory.chmod(0o700)
    made = [name for name in RANDOM if _write(directory / name, secrets.token_urlsafe(SECRET_BYTES))]
    values = {name: (directory / name).read_text(encoding="ascii").strip() for name in RANDOM}
    made += [name for name, form in ADDRESSES.items() if _write(directory / name, form.format_map(values))]
    return made


def _write(path: Path, text: str) -> bool:
    try:
        with path.open("x", encoding="ascii") as file:
            file.write(text)
    except FileExistsError:
        return False
    path.chmod(0o644)
    return True


if __name__ == "__main__":
    sys.stderr.write(f"{DIRECTORY}: made {', '.join(make_secrets(DIRECTORY)) or 'nothing, all are there'}\n")
