"""What processes of the version before (ecf8900) send is read."""

from __future__ import annotations

import base64
import importlib
import pickle
from typing import Any

import pytest

from allocator.model.section import SectionState
from allocator.turns.heat import ActorHeat
from allocator.turns.service import Limits
from cluster.config.settings import Placement
from cluster.control.misplaced import MovedSections
from cluster.gateway.directory import DirectoryView
from cluster.previous_version import MOVED
from cluster.processes.section_host import HostFactory

SENT: list[tuple[object, str]] = [
    (
        ActorHeat(1.0, 2, 3, 0.5, [(7, 8.0)], 0.25),
        "gAWVVAAAAAAAAACMDmFsbG9jYXRvci5oZWF0lIwJQWN0b3JIZWF0lJOUKEc/8AAAAAAAAEsCSwNHP+AAAAAAAABdlEsHR0AgAAAAAAAAhpRhRz"
        "/QAAAAAAAAdJSBlC4=",
    ),
    (
        DirectoryView(5, Placement.DEDICATED, ("sections-a-0",), {7: "section-7"}),
        "gAWVhAAAAAAAAACMEWNsdXN0ZXIuZGlyZWN0b3J5lIwNRGlyZWN0b3J5Vmlld5STlCmBlF2UKEsFjBBjbHVzdGVyLnNldHRpbmdzlIwJUGxhY2"
        "VtZW50lJOUjAlkZWRpY2F0ZWSUhZRSlIwMc2VjdGlvbnMtYS0wlIWUfZRLB4wJc2VjdGlvbi03lHNlYi4=",
    ),
    (
        MovedSections(3, 2, 1, frozenset({"sections-a-0"})),
        "gAWVSAAAAAAAAACMGGNsdXN0ZXIuY29udHJvbC5zZXR0bGluZ5SMB1NldHRsZWSUk5QpgZRdlChLA0sCSwEojAxzZWN0aW9ucy1hLTCUkZRlYi4=",
    ),
    (
        HostFactory("postgresql://a", "redis://a", 5000, Limits(7), "INFO"),
        "gAWVmAAAAAAAAACMDGNsdXN0ZXIuaG9zdJSMC0hvc3RGYWN0b3J5lJOUKYGUXZQojA5wb3N0Z3Jlc3FsOi8vYZSMCXJlZGlzOi8vYZRNiBOMEW"
        "FsbG9jYXRvci5zZXJ2aWNllIwGTGltaXRzlJOUKYGUXZQoSwdNACBLA0dAAAAAAAAAAEc/4AAAAAAAAEdAjCAAAAAAAGVijARJTkZPlGViLg==",
    ),
    (
        [SectionState(1, 2, 3, 4, 5, True, 6, ())],
        "gAWVPAAAAAAAAABdlIwRYWxsb2NhdG9yLnNlY3Rpb26UjAxTZWN0aW9uU3RhdGWUk5QoSwFLAksDSwRLBYhLBil0lIGUYS4=",
    ),
]
"""Objects, and what processes of ecf8900 pickle for them (base64)."""


def read(packed: bytes) -> Any:
    return pickle.loads(packed)  # noqa: S301  (our own)


@pytest.mark.parametrize(("expected", "sent"), SENT, ids=lambda value: type(value).__name__)
def test_what_the_version_before_sends_is_read(expected: object, sent: str) -> None:
    assert read(base64.b64decode(sent)) == expected


@pytest.mark.parametrize("module", sorted(MOVED))
def test_every_old_name_leads_somewhere(module: str) -> None:
    for name in MOVED[module]:
        assert isinstance(getattr(importlib.import_module(module), name), type)
