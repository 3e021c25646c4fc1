# ruff: noqa: T201  (printing the result is what it is for)
"""Fill ray_cluster.yaml in from the CloudFormation stacks: ``scripts/ray_cluster.py NAME > cluster.yaml``.

``${Thing}`` in the file is the export ``NAME-Thing`` of one of the stacks; ``${Name}`` and ``${Region}`` are known.
"""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Mapping
from pathlib import Path

TEMPLATE = Path(__file__).resolve().parent.parent / "ray_cluster.yaml"
PLACEHOLDER = re.compile(r"\$\{(\w+)\}")


class MissingOutputError(Exception):
    """The stacks do not export something that the file needs; the message says what."""


def fill(text: str, values: Mapping[str, str]) -> str:
    """``text`` with a value for each placeholder; comments are left as they are.

    Raises:
        MissingOutputError: if there is one without.
    """
    lines = text.splitlines(keepends=True)
    missing = {name for line in lines for name in _names(line)} - values.keys()
    if missing:
        raise MissingOutputError(f"no stack exports {', '.join(sorted(missing))}: create all stacks first")
    return "".join(PLACEHOLDER.sub(lambda found: values[found[1]], line) if _names(line) else line for line in lines)


def _names(line: str) -> list[str]:
    return [] if line.lstrip().startswith("#") else PLACEHOLDER.findall(line)


def read_exports(name: str, region: str) -> dict[str, str]:
    """What the stacks of ``name`` export, without the name in front."""
    import boto3  # noqa: PLC0415  (a second that --help can do without)

    client = boto3.client("cloudformation", region_name=region)
    found = (one for page in client.get_paginator("list_exports").paginate() for one in page["Exports"])
    prefix = f"{name}-"
    return {one["Name"].removeprefix(prefix): one["Value"] for one in found if one["Name"].startswith(prefix)}


def main(arguments: list[str]) -> int:
    """Print the filled file."""
    parser = argparse.ArgumentParser(description="Fill ray_cluster.yaml in from the CloudFormation stacks.")
    parser.add_argument("name", help="the parameter Name of the stacks")
    parser.add_argument("--region", required=True)
    options = parser.parse_args(arguments)
    values = {**read_exports(options.name, options.region), "Name": options.name, "Region": options.region}
    try:
        print(fill(TEMPLATE.read_text(encoding="utf-8"), values), end="")
    except MissingOutputError as error:
        print(f"ray_cluster: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
