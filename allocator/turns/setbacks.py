"""Every way in which a turn can fail, and what follows.

| failure                 | committed | forgotten           | its commands                          | next turn    |
|-------------------------|-----------|---------------------|---------------------------------------|--------------|
| `StaleEpochError`       | nothing   | the sections lost   | decided where their sections are      | at once      |
| `CommitUnknownError`    | perhaps   | all of the turn     | in doubt: looked up, else decided     | at once      |
| `StoreBusyError`        | nothing   | none                | looked up, else decided               | at once      |
| `StoreUnavailableError` | nothing   | none                | wait until their deadline             | with a pause |
| `StoreRejectedError`    | nothing   | all of the turn     | one by one, until one fails alone     | with a pause |
| anything else: a bug    | nothing   | all of the turn     | the same                              | with a pause |

A section that is forgotten is activated anew, from Postgres, by the next command for it. Pauses grow from try to try.
"""

from __future__ import annotations

import logging

from allocator.model.commands import STUDENT_COMMANDS
from allocator.ports import (
    Clock,
    CommitUnknownError,
    StaleEpochError,
    StoreBusyError,
    StoreRejectedError,
    StoreUnavailableError,
)
from allocator.turns.inbox import Entry, Inbox, sections_of
from allocator.turns.promotions import Promotions
from allocator.turns.residence import Residence
from allocator.turns.stats import ServiceStats

log = logging.getLogger(__name__)


class Setbacks:
    """Does what follows from a failed turn.

    Args:
        backoff_max_s: longest pause between two tries while the store is away.
    """

    def __init__(
        self,
        inbox: Inbox,
        residence: Residence,
        promotions: Promotions,
        stats: ServiceStats,
        clock: Clock,
        *,
        backoff_max_s: float,
    ) -> None:
        self._inbox = inbox
        self._residence = residence
        self._promotions = promotions
        self._stats = stats
        self._clock = clock
        self._backoff_max_s = backoff_max_s
        self._failures = 0

    def reset(self) -> None:
        """A turn went well: the next failure starts with a short pause again."""
        self._failures = 0

    def handle(self, failure: Exception, entries: list[Entry]) -> float:
        """Deal with a turn of ``entries`` that ended with ``failure``.

        Returns:
            seconds to pause before the next turn.
        """
        match failure:
            case StaleEpochError():
                return self._stale(failure, entries)
            case CommitUnknownError():
                return self._unknown(failure, entries)
            case StoreBusyError():
                return self._busy(entries)
            case StoreUnavailableError():
                return self._unavailable(failure, entries)
            case StoreRejectedError():
                self._stats.rejected_turns += 1
                log.error("the database refused a turn: %s", failure)
            case _:  # the loop must outlive any bug
                self._stats.failed_turns += 1
                log.error("a turn failed", exc_info=failure)
        self._isolate(entries)
        return self._pause()

    def _stale(self, stale: StaleEpochError, entries: list[Entry]) -> float:
        self._stats.stale_commits += 1
        log.warning("fenced out of %d sections", len(stale.section_ids))
        self._residence.forget(stale.section_ids)
        self._inbox.put_back(entries)
        return 0.0

    def _unknown(self, unknown: CommitUnknownError, entries: list[Entry]) -> float:
        self._stats.unknown_commits += 1
        log.warning("the outcome of a commit is unknown; activating its sections anew: %s", unknown)
        self._forget_turn(entries)
        for entry in entries:
            entry.in_doubt = True
        self._look_up_again(entries)
        return 0.0

    def _busy(self, entries: list[Entry]) -> float:
        self._stats.busy_turns += 1
        self._look_up_again(entries)
        for entry in entries:  # whoever waited for a lock in vain lets others pass before waiting again
            entry.deferrals = 0
        self._promotions.skip_again()
        return 0.0

    def _unavailable(self, error: StoreUnavailableError, entries: list[Entry]) -> float:
        if self._failures == 0:
            log.warning("the store is away: %s", error)
        self._inbox.put_back(entries)
        self._inbox.expire(self._clock.monotonic())
        return self._pause()

    def _look_up_again(self, entries: list[Entry]) -> None:
        """Put commands back, to be looked up by their keys before they are decided again.

        What has no key cannot be looked up: in doubt, whether to ask for it again is for its sender to say.
        """
        again = []
        for entry in entries:
            if isinstance(entry.command, STUDENT_COMMANDS):
                entry.maybe_tried = True
            elif entry.in_doubt:
                entry.give_up()
                continue
            again.append(entry)
        self._inbox.put_back(again)

    def _isolate(self, entries: list[Entry]) -> None:
        self._forget_turn(entries)
        if len(entries) == 1 and entries[0].alone:
            entries[0].give_up()
            return
        for entry in entries:
            entry.alone = True
        self._inbox.put_back(entries)

    def _forget_turn(self, entries: list[Entry]) -> None:
        self._residence.forget(sections_of(entries) | self._promotions.due)

    def _pause(self) -> float:
        self._failures = min(self._failures + 1, 10)
        return min(0.01 * 2.0**self._failures, self._backoff_max_s)
