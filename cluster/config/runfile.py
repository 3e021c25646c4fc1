"""The run file: where a running Seatline can be found. `up` and `serve` write it, other commands read it."""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path

NAME = "up.json"


@dataclass(frozen=True, slots=True)
class RunFile:
    """A running Seatline.

    Args:
        pid: the process of `seatline up` or `serve`; None if it runs detached on a cluster, until `seatline down`.
        url: of the API.
        ray_address, ray_token_path: how to connect to its Ray.
    """

    pid: int | None
    url: str
    ray_address: str
    ray_token_path: str | None


def write_run_file(home: Path, run: RunFile) -> None:
    """Write the run file."""
    path = home / "run" / NAME
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_suffix(".tmp")
    temporary.write_text(json.dumps(asdict(run)), encoding="utf-8")
    temporary.replace(path)


def read_run_file(home: Path) -> RunFile | None:
    """The running Seatline of this home, or None. A file left behind by a killed process does not count."""
    try:
        values = json.loads((home / "run" / NAME).read_text(encoding="utf-8"))
        run = RunFile(values["pid"], values["url"], values["ray_address"], values["ray_token_path"])
        if run.pid is not None:
            os.kill(run.pid, 0)
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return run


def remove_run_file(home: Path) -> None:
    """Delete the run file."""
    (home / "run" / NAME).unlink(missing_ok=True)
