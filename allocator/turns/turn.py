"""One turn: load, lock, decide, commit. One way down; what it came to is returned."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from allocator.model.commands import STUDENT_COMMANDS
from allocator.model.record import RecordKey, RegistrationRecord
from allocator.model.section import Section
from allocator.ports import Changes, Clock, Store, Turn
from allocator.rules.table import Judge
from allocator.turns.decision import Decision
from allocator.turns.enrollment_ids import EnrollmentIds
from allocator.turns.facts_cache import FactsCache
from allocator.turns.inbox import Entry, sections_of
from allocator.turns.promotions import Promotions
from allocator.turns.stats import ServiceStats


class CommittedTurn(NamedTuple):
    """A turn after its commit. ``stepped_aside`` are entries whose students were locked elsewhere."""

    decision: Decision
    changes: Changes
    stepped_aside: list[Entry]


class TurnRunner:
    """Carries turns out, one at a time.

    Args:
        sections: the active ones. They are read only: decisions are made on drafts.
        deferrals_max: turns in which a command steps aside because its student is locked elsewhere, before it waits
            for the lock.
    """

    def __init__(
        self,
        sections: Mapping[int, Section],
        store: Store,
        facts: FactsCache,
        promotions: Promotions,
        stats: ServiceStats,
        clock: Clock,
        judge: Judge,
        *,
        deferrals_max: int,
    ) -> None:
        self._sections = sections
        self._store = store
        self._facts = facts
        self._promotions = promotions
        self._stats = stats
        self._clock = clock
        self._judge = judge
        self._ids = EnrollmentIds(store)
        self._deferrals_max = deferrals_max

    async def carry_out(self, entries: list[Entry]) -> CommittedTurn:
        """Decide ``entries``, whose sections are active, offer the seats that are due, and commit it all.

        Raises:
            StoreError: see ``allocator.turns.setbacks`` for each and what follows.
        """
        promoting = sorted(self._promotions.due)
        deciding = sections_of(entries).union(promoting)
        await self._facts.load(deciding)
        ids = await self._ids.reserve(len(entries))
        async with self._store.turn() as turn:
            keys = [self._record_key(entry) for entry in entries]
            records = await self._lock(turn, entries, keys, promoting, deciding)
            ready, stepped_aside = self._split(entries, keys, records)
            answers = await turn.answers(_keys_to_look_up(ready))
            held = await turn.enrollments([one for entry in ready for one in entry.needs.enrollment_ids])
            facts_of = self._facts.__getitem__
            decision = Decision(self._sections, facts_of, records, ids, self._clock.now(), self._judge)
            decision.unblock(self._promotions.outdated_refusals())
            decision.promote(promoting)
            decision.decide(ready, answers, held)
            changes = decision.changes()
            if changes.fences:
                committing = self._clock.monotonic()
                await turn.commit(changes)
                self._stats.commit_s.observe(self._clock.monotonic() - committing)
        return CommittedTurn(decision, changes, stepped_aside)

    def _record_key(self, entry: Entry) -> RecordKey | None:
        section_ids, student_id, _ = entry.needs
        if student_id is None:
            return None
        return RecordKey(student_id, self._facts[section_ids[0]].term.semester_id)

    async def _lock(
        self, turn: Turn, entries: list[Entry], keys: list[RecordKey | None], promoting: list[int], deciding: set[int]
    ) -> dict[RecordKey, RegistrationRecord]:
        """Lock the records of the commands' students and of the waitlist heads; load the facts that they refer to."""
        wait: set[RecordKey] = set()
        skip: set[RecordKey] = set()
        for entry, key in zip(entries, keys, strict=True):
            if key is not None:
                (wait if entry.deferrals >= self._deferrals_max else skip).add(key)
        for section_id in promoting:
            must_wait = self._promotions.must_wait(section_id)
            (wait if must_wait else skip).update(self._promotions.heads(section_id))
        locked = await turn.lock_records(sorted(wait), sorted(skip - wait))
        self._facts.see_version(locked.catalogue_version)
        held = {section_id for record in locked.records.values() for section_id in record.enrolled}
        await self._facts.load(deciding | held)
        self._promotions.count_skipped(promoting, locked.records)
        return locked.records

    def _split(
        self, entries: list[Entry], keys: list[RecordKey | None], records: dict[RecordKey, RegistrationRecord]
    ) -> tuple[list[Entry], list[Entry]]:
        """Entries that can be decided, and those whose student is locked elsewhere."""
        ready: list[Entry] = []
        aside: list[Entry] = []
        for entry, key in zip(entries, keys, strict=True):
            waited = entry.deferrals >= self._deferrals_max
            if key is None or key in records or waited:
                ready.append(entry)
            else:
                entry.deferrals += 1
                self._stats.deferrals += 1
                aside.append(entry)
        return ready, aside


def _keys_to_look_up(entries: list[Entry]) -> list[tuple[int, str]]:
    return [
        (entry.command.student_id, entry.key)
        for entry in entries
        if (entry.keep_answer or entry.maybe_tried) and isinstance(entry.command, STUDENT_COMMANDS)
    ]
