"""The part of the catalogue that one actor has looked at so far."""

from __future__ import annotations

from collections.abc import Iterable

from allocator.model.catalogue import SectionFacts
from allocator.ports import Store


class FactsCache:
    """Facts by section id, loaded when first needed and forgotten when the catalogue's version rises."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._version: int | None = None
        self._by_id: dict[int, SectionFacts] = {}

    def see_version(self, version: int | None) -> None:
        """Forget everything if the catalogue may have changed since the facts were read."""
        if version is not None and version != self._version:
            self._by_id.clear()
            self._version = version

    async def load(self, section_ids: Iterable[int]) -> None:
        """Read the facts that are missing. Ids that the catalogue does not know stay missing."""
        missing = [section_id for section_id in section_ids if section_id not in self._by_id]
        if missing:
            for facts in await self._store.facts(missing):
                self._by_id[facts.section_id] = facts

    def get(self, section_id: int) -> SectionFacts | None:
        """The facts, if they were loaded."""
        return self._by_id.get(section_id)

    def __getitem__(self, section_id: int) -> SectionFacts:
        return self._by_id[section_id]
