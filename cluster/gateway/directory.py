"""The directory: which actor owns a section. It is its pin, else the pooled actor with the highest rendezvous hash."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from hashlib import blake2b

from cluster.config.settings import Placement

DEDICATED_PREFIX = "section-"

OWNERS_KEPT_MAX = 100_000
"""More than any catalogue has sections, so that requests with invented ids cannot fill the memory."""
POOLED_PREFIX = "sections-"


@dataclass(frozen=True, slots=True)
class DirectoryView:
    """The directory as it was published at one time.

    Args:
        version: of two views, the one with the higher version is valid.
        placement: with ``dedicated``, every section has an actor of its own, named after it.
        pooled: names of the actors that share the sections otherwise. Empty while there are none.
        pins: actors by section id, for sections with an actor of their own.
    """

    version: int
    placement: Placement
    pooled: tuple[str, ...]
    pins: Mapping[int, str] = field(default_factory=dict)


class Directory:
    """Owners by section. Cheap to ask, the same in every process that was given the same view."""

    def __init__(self, view: DirectoryView) -> None:
        self._view = view
        self._owners: dict[int, str] = {}

    @property
    def view(self) -> DirectoryView:
        """The newest view that this process was given."""
        return self._view

    def update(self, view: DirectoryView) -> bool:
        """Take a newer view. One that is as old as the present one, or older, changes nothing.

        Returns:
            whether anything changed.
        """
        if view.version <= self._view.version:
            return False
        self._view = view
        self._owners = {}
        return True

    def owner(self, section_id: int) -> str | None:
        """The name of the actor that should own the section; None while there is no actor that could."""
        owner = self._owners.get(section_id)
        if owner is None:
            owner = owner_in(self._view, section_id)
            if owner is None:
                return None
            if len(self._owners) >= OWNERS_KEPT_MAX:
                self._owners.clear()
            self._owners[section_id] = owner
        return owner

    def includes(self, name: str) -> bool:
        """Whether the actor of this name may own sections."""
        view = self._view
        if view.placement is Placement.DEDICATED and name.startswith(DEDICATED_PREFIX):
            return True
        return name in view.pooled or name in view.pins.values()


def owner_in(view: DirectoryView, section_id: int) -> str | None:
    """The owner of a section in a view; None if the view has no actors."""
    pin = view.pins.get(section_id)
    if pin is not None:
        return pin
    if view.placement is Placement.DEDICATED:
        return f"{DEDICATED_PREFIX}{section_id}"
    return max(view.pooled, key=lambda name: _weight(name, section_id), default=None)


def moves(old: DirectoryView, new: DirectoryView, section_ids: Iterable[int]) -> dict[int, str]:
    """The sections that have another owner in the new view, with that owner."""
    moving = {}
    for section_id in section_ids:
        owner = owner_in(new, section_id)
        if owner is not None and owner != owner_in(old, section_id):
            moving[section_id] = owner
    return moving


def _weight(name: str, section_id: int) -> bytes:
    """The rendezvous hash (Thaler and Ravishankar, 1998): when an actor leaves, only its sections move."""
    return blake2b(f"{name} {section_id}".encode(), digest_size=8).digest()
