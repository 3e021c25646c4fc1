"""Objects of the version before (ecf8900) are read, and what is sent to it can be read there."""

from __future__ import annotations

import base64
import importlib
import pickle
import sys
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
import ray.cloudpickle

from allocator.model.section import SectionState
from allocator.turns.heat import ActorHeat
from allocator.turns.service import Limits
from cluster.config.settings import Placement
from cluster.control.misplaced import MovedSections
from cluster.gateway.directory import DirectoryView
from cluster.previous_version import MOVED, named
from cluster.processes.section_host import HostFactory

SENT = {
    "gAWVVAAAAAAAAACMDmFsbG9jYXRvci5oZWF0lIwJQWN0b3JIZWF0lJOUKEc/8AAAAAAAAEsCSwNHP+AAAAAAAABdlEsHR0AgAAAAAAAAhpRhRz/QAA"
    "AAAAAAdJSBlC4=": ActorHeat(1.0, 2, 3, 0.5, [(7, 8.0)], 0.25),
    "gAWVhAAAAAAAAACMEWNsdXN0ZXIuZGlyZWN0b3J5lIwNRGlyZWN0b3J5Vmlld5STlCmBlF2UKEsFjBBjbHVzdGVyLnNldHRpbmdzlIwJUGxhY2VtZW"
    "50lJOUjAlkZWRpY2F0ZWSUhZRSlIwMc2VjdGlvbnMtYS0wlIWUfZRLB4wJc2VjdGlvbi03lHNlYi4=": DirectoryView(
        5, Placement.DEDICATED, ("sections-a-0",), {7: "section-7"}
    ),
    "gAWVSAAAAAAAAACMGGNsdXN0ZXIuY29udHJvbC5zZXR0bGluZ5SMB1NldHRsZWSUk5QpgZRdlChLA0sCSwEojAxzZWN0aW9ucy1hLTCUkZRlYi4="
    "": MovedSections(3, 2, 1, frozenset({"sections-a-0"})),
    "gAWVmAAAAAAAAACMDGNsdXN0ZXIuaG9zdJSMC0hvc3RGYWN0b3J5lJOUKYGUXZQojA5wb3N0Z3Jlc3FsOi8vYZSMCXJlZGlzOi8vYZRNiBOMEWFsbG"
    "9jYXRvci5zZXJ2aWNllIwGTGltaXRzlJOUKYGUXZQoSwdNACBLA0dAAAAAAAAAAEc/4AAAAAAAAEdAjCAAAAAAAGVijARJTkZPlGViLg==": HostFactory(
        "postgresql://a", "redis://a", 5000, Limits(7), "INFO"
    ),
    "gAWVPAAAAAAAAABdlIwRYWxsb2NhdG9yLnNlY3Rpb26UjAxTZWN0aW9uU3RhdGWUk5QoSwFLAksDSwRLBYhLBil0lIGUYS4=": [
        SectionState(1, 2, 3, 4, 5, True, 6, ())
    ],
}
"""What processes of ecf8900 have pickled (base64), and what it is."""


@pytest.mark.parametrize(("sent", "expected"), SENT.items(), ids=lambda value: type(value).__name__)
def test_what_the_version_before_sends_is_read(sent: str, expected: object) -> None:
    assert pickle.loads(base64.b64decode(sent)) == expected


@pytest.mark.parametrize("module", sorted(MOVED))
def test_every_old_name_leads_somewhere(module: str) -> None:
    for name in MOVED[module]:
        assert isinstance(getattr(importlib.import_module(module), name), type)


def test_a_placement_that_is_sent_is_one_of_the_reader(monkeypatch: pytest.MonkeyPatch) -> None:
    packed = ray.cloudpickle.dumps(SimpleNamespace(placement=named("cluster.settings", "Placement", "dedicated")))
    assert pickle.loads(packed).placement is Placement.DEDICATED
    old: Any = ModuleType("cluster.settings")
    old.Placement = lambda value: f"the old {value}"
    monkeypatch.setitem(sys.modules, "cluster.settings", old)
    assert pickle.loads(packed).placement == "the old dedicated"
