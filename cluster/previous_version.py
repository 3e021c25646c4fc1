"""Lets processes of this version talk to those of the version before, while one replaces the other.

Ray sends objects pickled, and a pickle names the module and class of an object. In the version before (commit ecf8900)
these had other names. During an upgrade, or a return to the version before, this goes between the versions:

* The controller asks the older section actors for their heat. They answer with a class of `allocator.heat`.
* The controller sends directory views to older API servers. They compare its placement with their own enum.
* `seatline verify` and `seatline rebalance` may ask older actors and an older controller.
* Ray restarts an older section actor or controller that has died, and by then the new code is installed. The arguments
  of its constructor were pickled by the version before.

What this version sends is made of plain values, apart from the placement. To read what the version before sends, its
names are made importable: see ``MOVED``. In the version after this one, delete this module, its import in
`cluster/__init__.py` and the uses of ``named``.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any

MOVED: dict[str, dict[str, str]] = {
    "allocator.heat": {"ActorHeat": "allocator.turns.heat.ActorHeat"},
    "allocator.section": {"SectionState": "allocator.model.section.SectionState"},
    "allocator.service": {"Limits": "allocator.turns.service.Limits"},
    "allocator.waitlist": {"Waiting": "allocator.model.waitlist.Waiting"},
    "cluster.control.actor": {
        "ControllerActor": "cluster.processes.controller_process.ControllerActor",
        "ControllerSeed": "cluster.processes.controller_process.ControllerSeed",
    },
    "cluster.control.settling": {"Settled": "cluster.control.misplaced.MovedSections"},
    "cluster.directory": {"DirectoryView": "cluster.gateway.directory.DirectoryView"},
    "cluster.host": {"HostFactory": "cluster.processes.section_host.HostFactory"},
    "cluster.node": {"NodeConfig": "cluster.processes.node.NodeConfig"},
    "cluster.settings": {
        "Environment": "cluster.config.settings.Environment",
        "Placement": "cluster.config.settings.Placement",
        "Settings": "cluster.config.settings.Settings",
        "SpotWatching": "cluster.config.settings.SpotWatching",
    },
}
"""Modules of the version before, and where the classes are now that its processes send or were started with."""


class _Finder(MetaPathFinder, Loader):
    """Finds the old modules. It comes last, and so is only asked for modules that do not exist."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        return ModuleSpec(fullname, self) if fullname in MOVED else None

    def exec_module(self, module: ModuleType) -> None:
        for name, path in MOVED[module.__name__].items():
            new_module, _, new_name = path.rpartition(".")
            setattr(module, name, getattr(importlib.import_module(new_module), new_name))


@dataclass(frozen=True, slots=True)
class _Call:
    """Pickled as a call that is made by the process that unpickles it."""

    function: Any
    arguments: tuple[Any, ...]

    def __reduce__(self) -> tuple[Any, tuple[Any, ...]]:
        return self.function, self.arguments

    def __call__(self) -> None:
        """Only there because ``pickle`` wants a function to be callable."""


def named(module: str, name: str, *arguments: object) -> object:
    """Unpickled as the result of calling ``module.name(*arguments)`` with the names of the version before.

    It can be unpickled by both versions.
    """
    function = _Call(getattr, (_Call(importlib.import_module, (module,)), name))
    return _Call(function, arguments)


def install() -> None:
    """Make the old names importable."""
    if not any(isinstance(finder, _Finder) for finder in sys.meta_path):
        sys.meta_path.append(_Finder())
