"""Files that only their owner may read, from the moment they exist."""

from __future__ import annotations

import os
import secrets
from pathlib import Path


def write_private_file(path: Path, content: bytes) -> None:
    """Write a file with mode 0600, whole or not at all."""
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def make_private_directory(path: Path) -> None:
    """Make a directory with mode 0700, and its parents, unless it exists."""
    path.mkdir(mode=0o700, parents=True, exist_ok=True)
