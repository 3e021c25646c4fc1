"""Which actor owns a section: its pin, else the highest rendezvous hash over the pooled actors."""

from __future__ import annotations

from hashlib import blake2b

from cluster.settings import Placement

DEDICATED_PREFIX = "section-"

OWNERS_KEPT_MAX = 100_000
"""More than any catalogue has sections: whoever asks for more is making them up."""
POOLED_PREFIX = "sections-"


class Directory:
    """Owners by section. Cheap to ask, the same in every process that was given the same actors.

    Args:
        placement: ``dedicated`` gives every section an actor of its own, named after it.
        pooled: names of the actors that share the sections otherwise.
    """

    def __init__(self, placement: Placement, pooled: tuple[str, ...]) -> None:
        if placement is not Placement.DEDICATED and not pooled:
            raise ValueError("pooled placement needs at least one actor")
        self._placement = placement
        self._pooled = pooled
        self._owners: dict[int, str] = {}

    @property
    def pooled(self) -> tuple[str, ...]:
        """Names of the pooled actors."""
        return self._pooled

    def owner(self, section_id: int) -> str:
        """The name of the actor that should own the section."""
        owner = self._owners.get(section_id)
        if owner is None:
            if len(self._owners) >= OWNERS_KEPT_MAX:
                self._owners.clear()
            owner = self._owners[section_id] = self._place(section_id)
        return owner

    def _place(self, section_id: int) -> str:
        if self._placement is Placement.DEDICATED:
            return f"{DEDICATED_PREFIX}{section_id}"
        return max(self._pooled, key=lambda name: _weight(name, section_id))


def _weight(name: str, section_id: int) -> bytes:
    """Rendezvous hashing (Thaler and Ravishankar, 1998): when an actor leaves, only its sections move."""
    return blake2b(f"{name} {section_id}".encode(), digest_size=8).digest()
