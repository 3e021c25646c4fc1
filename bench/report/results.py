"""The kept results: ``bench/results/latest.json``, one section for each command that has run on this commit."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import orjson

from bench.report.provenance import describe

DIRECTORY = Path(__file__).resolve().parents[1] / "results"
LATEST = DIRECTORY / "latest.json"
KEPT_ON_THE_SAME = ("commit", "versions")
"""Results of another commit, or made with other versions, do not stand beside new ones."""


def read_latest() -> dict[str, Any]:
    """The kept results; empty if there are none."""
    try:
        found: dict[str, Any] = orjson.loads(LATEST.read_bytes())
    except (OSError, ValueError):
        return {}
    return found


def keep(section: str, result: dict[str, Any], **top: Any) -> dict[str, Any]:
    """Put what a command found into the kept results, in place of what it found before.

    Args:
        section: the command.
        result: what it found.
        top: what belongs beside the sections, such as ``ratios``; mappings are merged into those that are there.

    Returns:
        all that is kept.
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
