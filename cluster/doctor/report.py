"""What the doctor says of each thing it looked at."""

from __future__ import annotations

import enum
from dataclasses import dataclass


class State(enum.StrEnum):
    """How something is. ``WARN`` works but should be mended; ``BAD`` does not work."""

    OK = "ok"
    WARN = "warn"
    BAD = "bad"


class Kind(enum.StrEnum):
    """What a row is about: decides the exit code when it is bad."""

    CONFIGURATION = "configuration"
    MACHINE = "machine"
    SERVICE = "service"


@dataclass(frozen=True, slots=True)
class Row:
    """One thing, how it is, and what to do about it (empty if nothing)."""

    kind: Kind
    name: str
    state: State
    value: str
    mend: str = ""


def judge(kind: Kind, name: str, value: str, *, ok: bool, mend: str, otherwise: State = State.WARN) -> Row:
    """A row that is fine if ``ok``, else ``otherwise`` with the advice of ``mend``."""
    return Row(kind, name, State.OK, value) if ok else Row(kind, name, otherwise, value, mend)
