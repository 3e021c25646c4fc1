"""One step of a rollout of API servers: which to start and which to end now. Pure.

On a node with servers of an older generation, new ones are started on the same port beside them, one node after the
other. The old ones are ended only when the new ones listen.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass

from cluster.control.model import Node
from cluster.control.names import placed


@dataclass(frozen=True, slots=True)
class Step:
    """Names of API servers to be started and to be ended."""

    start: tuple[str, ...]
    end: tuple[str, ...]


def api_step(
    wanted: Mapping[str, Node],
    existing: Collection[str],
    listening: Collection[str],
    ending: Collection[str],
    *,
    may_replace: bool,
) -> Step:
    """The next step.

    Args:
        wanted: the API servers of the desired state, with their nodes.
        existing: the API servers that exist, of any generation.
        listening: those of them that take connections.
        ending: those that are being ended already.
        may_replace: whether servers of an older generation may end now.
    """
    old_by_label: dict[str, list[str]] = {}
    for name in sorted(existing):
        found = placed(name)
        if found is not None and found.is_api and name not in wanted:
            old_by_label.setdefault(found.label, []).append(name)
    new_by_label: dict[str, list[str]] = {}
    for name, node in wanted.items():
        new_by_label.setdefault(node.label, []).append(name)
    start: list[str] = []
    end: list[str] = []
    others_listen = bool(set(listening) & set(wanted))
    replacing = False
    for label in sorted(new_by_label.keys() | old_by_label.keys()):
        new, old = new_by_label.get(label, []), old_by_label.get(label, [])
        missing = [name for name in new if name not in listening]
        if not old:
            start += missing
        elif not new:  # the node is being drained
            end += [name for name in old if others_listen]
        elif may_replace and not replacing:
            replacing = True
            if missing:
                start += missing
            else:
                end += old
    return Step(tuple(start), tuple(name for name in end if name not in ending))
