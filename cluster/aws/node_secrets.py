"""Writes secrets of a node from Secrets Manager into files that only its user can read.

    python -m cluster.aws.node_secrets DIRECTORY "ray-token={seatline/ray-token}" "redis-url=rediss://:{seatline/redis}@h:6379/0"

``{id}`` is replaced by the value of that secret, URL-quoted if it is part of a longer text. The directory should be on
a file system in memory. The instance profile of the node decides which secrets it may read.
"""

from __future__ import annotations

import argparse
import os
import re
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from urllib.parse import quote

REFERENCE = re.compile(r"\{([\w/+=.@-]+)\}")
FILE_NAME = re.compile(r"[a-z][a-z-]*")
CONNECT_TIMEOUT_S = 5
READ_TIMEOUT_S = 10
ATTEMPTS = 5

ReadSecret = Callable[[str], str]


def resolve(template: str, read_secret: ReadSecret) -> str:
    """Replace the references in ``template`` by the values of the secrets."""
    alone = REFERENCE.fullmatch(template)
    if alone:
        return read_secret(alone[1])
    return REFERENCE.sub(lambda found: quote(read_secret(found[1]), safe=""), template)


def write_secret(path: Path, text: str) -> None:
    """Write a file atomically, readable by its owner only from the first moment."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        file.write(text + "\n")
    temporary.replace(path)


def open_secrets_manager() -> ReadSecret:
    """A function that reads secrets in the region and with the rights of this node."""
    import boto3  # noqa: PLC0415  (slow)
    from botocore.config import Config  # noqa: PLC0415

    retries = {"mode": "standard", "total_max_attempts": ATTEMPTS}
    limits = Config(connect_timeout=CONNECT_TIMEOUT_S, read_timeout=READ_TIMEOUT_S, retries=retries)
    client = boto3.client("secretsmanager", config=limits)

    def read_secret(secret_id: str) -> str:
        value: str = client.get_secret_value(SecretId=secret_id)["SecretString"]
        return value

    return read_secret


def main(arguments: Sequence[str]) -> int:
    """Write the files, and log their names, but never their contents."""
    parser = argparse.ArgumentParser(description="Secrets of a node, from Secrets Manager into files.")
    parser.add_argument("directory", type=Path)
    parser.add_argument("files", nargs="+", metavar="FILE=TEMPLATE")
    options = parser.parse_args(arguments)
    templates = dict(one.split("=", 1) for one in options.files if "=" in one)
    if len(templates) != len(options.files) or not all(FILE_NAME.fullmatch(name) for name in templates):
        parser.error("each file is given as NAME=TEMPLATE, and no name twice")
    read_secret = open_secrets_manager()
    for name, template in templates.items():
        write_secret(options.directory / name, resolve(template, read_secret))
    sys.stderr.write(f"wrote {', '.join(templates)} to {options.directory}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
