"""Lets processes of this version read what those of the version before send, while one replaces the other.

Ray pickles objects and classes of actors by their names, and in the version before (commit ecf8900) many had other
names. During an upgrade:

* The controller calls the older section actors and API servers. Section actors answer with a class of `allocator.heat`,
  and a handle only knows the parameters of its methods if the class of the actor can be imported.
* `seatline verify`, `rebalance` and `drain` may call older actors and an older controller.
* Ray restarts an older section actor or controller that has died, and by then the new code is installed. The arguments
  of its constructor were pickled by the version before.

So the old names are made importable: see ``MOVED``. Nothing is done for the other direction: API servers of the version
before cannot call the new controller, and use their last directory view until they are replaced, a moment later. The
older section actors stay as long as those servers, and send on what is for sections that have moved.

In the version after this one, delete this module and its import in `cluster/__init__.py`.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Sequence
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType

MOVED: dict[str, dict[str, str]] = {
    "allocator.heat": {"ActorHeat": "allocator.turns.heat.ActorHeat"},
    "allocator.section": {"SectionState": "allocator.model.section.SectionState"},
    "allocator.service": {"Limits": "allocator.turns.service.Limits"},
    "allocator.waitlist": {"Waiting": "allocator.model.waitlist.Waiting"},
    "cluster.api_process": {"ApiServer": "cluster.processes.api_process.ApiServerActor"},
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


def install() -> None:
    """Make the old names importable."""
    if not any(isinstance(finder, _Finder) for finder in sys.meta_path):
        sys.meta_path.append(_Finder())
