"""The result of one check of `seatline doctor`."""

from __future__ import annotations

import enum
from dataclasses import dataclass


class CheckState(enum.StrEnum):
    """The result of a check. ``WARN`` works but should be corrected; ``BAD`` does not work."""

    OK = "ok"
    WARN = "warn"
    BAD = "bad"


class CheckKind(enum.StrEnum):
    """What a check is about. It decides the exit code if the result is bad."""

    CONFIGURATION = "configuration"
    MACHINE = "machine"
    SERVICE = "service"


@dataclass(frozen=True, slots=True)
class CheckResult:
    """What was checked, with what result, and what to do about it.

    Args:
        mend: empty if there is nothing to do.
    """

    kind: CheckKind
    name: str
    state: CheckState
    value: str
    mend: str = ""


def judge(
    kind: CheckKind, name: str, value: str, *, ok: bool, mend: str, otherwise: CheckState = CheckState.WARN
) -> CheckResult:
    """A result that is ``OK`` if ``ok``, else ``otherwise`` with the advice ``mend``."""
    return CheckResult(kind, name, CheckState.OK, value) if ok else CheckResult(kind, name, otherwise, value, mend)
