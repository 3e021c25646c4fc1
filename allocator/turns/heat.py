"""How much a drain loop has to do, and for which sections: rates that forget what is some seconds old."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from heapq import nlargest
from math import exp
from typing import NamedTuple

MEMORY_S = 5.0
"""After this time, a burst counts for a third of what it did."""
COMPANY_MEMORY_S = 1.0
"""The same for what else there is to do beside the busiest section: that is over sooner than a rate has settled."""
FOLD_INTERVAL_S = 1.0
COLD_PER_S = 0.01
"""A section with fewer commands a second than this is forgotten: whoever asks for the hottest does not mean it."""


class ActorHeat(NamedTuple):
    """What an actor has to do. Plain values: it is sent to the controller.

    ``inbox`` is how many commands wait; ``sections`` how many are in memory; ``busy`` the share of the time that it
    spends in turns; ``hottest`` are section ids with their commands per second, the hottest first.
    ``others_per_s`` are the commands of all but the busiest section of each moment: in a rush on one section after the
    other it stays near zero, while the rates of both do not differ for seconds.
    """

    commands_per_s: float
    inbox: int
    sections: int
    busy: float
    hottest: list[tuple[int, float]]
    others_per_s: float = 0.0


class Heat:
    """Counts what is decided, and since when sections have had no command. Times are monotonic seconds.

    A turn costs an update of counters; once a second they are folded into the rates.
    """

    def __init__(self, now: float) -> None:
        self._counts: Counter[int] = Counter()
        self._busy_s = 0.0
        self._folded_at = now
        self._rates: dict[int, float] = {}
        self._commands_per_s = 0.0
        self._others_per_s = 0.0
        self._busy = 0.0
        self._seen_at: dict[int, float] = {}

    def activated(self, section_ids: Iterable[int], now: float) -> None:
        """These are in memory from now on."""
        self._seen_at.update(dict.fromkeys(section_ids, now))

    def decided(self, section_ids: Iterable[int]) -> None:
        """Commands for these sections were decided: one for each time that an id is named."""
        self._counts.update(section_ids)

    def worked(self, started: float, ended: float) -> None:
        """A turn is over."""
        self._busy_s += ended - started
        if ended - self._folded_at >= FOLD_INTERVAL_S:
            self._fold(ended)

    def forget(self, section_ids: Iterable[int]) -> None:
        """These are not in memory any more."""
        for section_id in section_ids:
            self._seen_at.pop(section_id, None)
            self._rates.pop(section_id, None)
            self._counts.pop(section_id, None)

    def idle(self, now: float, idle_s: float) -> list[int]:
        """Sections that have been in memory, without a command, for so long; the longest first."""
        self._fold(now)
        idle = [(seen_at, section_id) for section_id, seen_at in self._seen_at.items() if now - seen_at >= idle_s]
        return [section_id for _, section_id in sorted(idle)]

    def read(self, now: float, top: int, inbox: int) -> ActorHeat:
        """The rates at this moment."""
        self._fold(now)
        hottest = nlargest(top, self._rates.items(), key=lambda item: item[1])
        sections = len(self._seen_at)
        return ActorHeat(self._commands_per_s, inbox, sections, self._busy, hottest, self._others_per_s)

    def _fold(self, now: float) -> None:
        """Let the rates decay, and take in what was counted since the last time."""
        passed_s = now - self._folded_at
        if passed_s <= 0:
            return
        kept = exp(-passed_s / MEMORY_S)
        gain = (1.0 - kept) / passed_s
        counts = self._counts
        rates = {}
        for section_id in self._rates.keys() | counts.keys():
            rate = self._rates.get(section_id, 0.0) * kept + counts[section_id] * gain
            if rate >= COLD_PER_S:
                rates[section_id] = rate
        self._rates = rates
        self._commands_per_s = self._commands_per_s * kept + counts.total() * gain
        others = counts.total() - max(counts.values(), default=0)
        kept_of_others = exp(-passed_s / COMPANY_MEMORY_S)
        self._others_per_s = self._others_per_s * kept_of_others + others * (1.0 - kept_of_others) / passed_s
        self._busy = min(1.0, self._busy * kept + self._busy_s * gain)
        self._seen_at.update({section_id: now for section_id in counts if section_id in self._seen_at})
        self._counts = Counter()
        self._busy_s = 0.0
        self._folded_at = now
