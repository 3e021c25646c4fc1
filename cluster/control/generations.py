"""Which actors run the code and settings of this controller, and why an actor is ended."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from cluster.control.names import own_section, placed


class Generations:
    """Tells the actors of this controller's generation from older ones.

    The generation is part of the name of an actor that belongs on a node. An actor of a single section has none in its
    name: those that an earlier controller has left are noted here.

    Args:
        current: the generation of this controller; empty where there can be only one.
    """

    def __init__(self, current: str) -> None:
        self.current = current
        self._outdated: set[str] = set()

    def found_older(self, names: Collection[str]) -> None:
        """An earlier generation ran here: the actors of single sections among ``names`` run its code."""
        self._outdated = {name for name in names if own_section(name) is not None}

    def ended(self, name: str) -> None:
        """This actor has ended; another may start under its name."""
        self._outdated.discard(name)

    def is_outdated(self, name: str) -> bool:
        """Whether this actor of a single section is of an earlier generation."""
        return name in self._outdated

    def is_current(self, name: str) -> bool:
        """Whether this actor runs the code and settings of this controller."""
        found = placed(name)
        return name not in self._outdated and (found is None or found.generation == self.current)

    def are_current(self, names: Collection[str]) -> bool:
        """Whether all of these actors do."""
        return all(self.is_current(name) for name in names)

    def why_retired(self, name: str, draining: Mapping[str, str]) -> str:
        """Why an actor is not wanted any more, for the journal.

        Args:
            draining: reasons by the labels of the nodes that are being drained.
        """
        found = placed(name)
        if found is None:
            return "of an older generation" if name in self._outdated else "its section is with the others again"
        if found.label in draining:
            return f"node {found.label} is drained: {draining[found.label]}"
        return "of an older generation" if not self.is_current(name) else "not needed"
