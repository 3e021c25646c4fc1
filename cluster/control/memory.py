"""What a controller takes over from the one before it, and saves for the next."""

from __future__ import annotations

from cluster.control.model import Remembered
from cluster.control.ports import StateStore


class ControllerMemory:
    """Loads once, and saves what has changed. A hint: without it, a controller goes by what it observes."""

    def __init__(self, store: StateStore) -> None:
        self._store = store
        self._saved: Remembered | None = None
        self.is_loaded = False
        """Whether ``load`` has returned."""

    async def load(self) -> Remembered:
        """What the controller before this one saved last; empty if that is not known."""
        kept = await self._store.load() or Remembered()
        self.is_loaded = True
        return kept

    async def save(self, state: Remembered) -> None:
        """Save ``state``, if it is not what was saved last."""
        if state != self._saved:
            self._saved = state
            await self._store.save(state)
