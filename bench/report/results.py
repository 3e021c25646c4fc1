"""The kept results: ``bench/results/latest.json``, with a section for each command that ran on the same commit."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import orjson

from bench.report.provenance import describe

DIRECTORY = Path(__file__).resolve().parents[1] / "results"
LATEST = DIRECTORY / "latest.json"
KEPT_ON_THE_SAME = ("commit", "versions")
"""Results of another commit or of other versions are dropped when new ones are kept."""


def read_latest() -> dict[str, Any]:
    """The kept results; empty if there are none."""
    try:
        found: dict[str, Any] = orjson.loads(LATEST.read_bytes())
    except (OSError, ValueError):
        return {}
    return found


def keep(section: str, result: dict[str, Any], **top: Any) -> dict[str, Any]:
    """Keep the result of a command, in place of its last one.

    Args:
        section: the command.
        result: of the command.
        top: values beside the sections, such as ``ratios``; a mapping is merged into the kept one.

    Returns:
        all kept results.
    """
    about = describe()
    kept = read_latest()
    if any(kept.get(name) != about[name] for name in KEPT_ON_THE_SAME):
        kept = {}
    kept.update(about)
    for name, value in top.items():
        kept[name] = {**kept.get(name, {}), **value} if isinstance(value, dict) else value
    kept[section] = {"at": datetime.now(UTC).isoformat(timespec="seconds"), **result}
    DIRECTORY.mkdir(exist_ok=True)
    temporary = LATEST.with_suffix(".new")
    temporary.write_bytes(orjson.dumps(kept, option=orjson.OPT_INDENT_2))
    temporary.replace(LATEST)
    return kept
