"""What a drain loop knows of its waitlists between turns: where a seat can be offered, and to whom it could not be."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping

from allocator.model.record import RecordKey
from allocator.model.section import Section
from allocator.ports import Clock, Store
from allocator.turns.facts_cache import FactsCache


class Promotions:
    """Seats to offer. Level-triggered: it looks at what is so, not at what happened.

    Args:
        sections: the active sections of the drain loop, as it sees them.
        heads_max: waiting students of one section who are tried in one turn.
        deferrals_max: turns in which a head whose record is locked elsewhere is skipped before its lock is waited for.
        recheck_interval_s: how often sections with a free seat that nobody could have are looked at without cause.
    """

    def __init__(
        self,
        sections: Mapping[int, Section],
        facts: FactsCache,
        store: Store,
        clock: Clock,
        *,
        heads_max: int,
        deferrals_max: int,
        recheck_interval_s: float,
    ) -> None:
        self.due: set[int] = set()
        """Sections with a free seat and somebody waiting whom nothing is known to block."""
        self._blocked: set[int] = set()
        self._deferrals: Counter[int] = Counter()
        self._recheck_at = 0.0
        self._sections = sections
        self._facts = facts
        self._store = store
        self._clock = clock
        self._heads_max = heads_max
        self._deferrals_max = deferrals_max
        self._recheck_interval_s = recheck_interval_s

    def note(self, section_id: int) -> None:
        """Look at a section that may have changed."""
        section = self._sections[section_id]
        facts = self._facts.get(section_id)
        self.due.discard(section_id)
        self._blocked.discard(section_id)
        if not section.waitlist:
            return
        if facts is not None and section.promotable(facts, self._clock.now()):
            self.due.add(section_id)
        elif section.free > 0 and section.is_open:
            self._blocked.add(section_id)

    def forget(self, section_ids: Iterable[int]) -> None:
        """These are active no more."""
        for section_id in section_ids:
            self.due.discard(section_id)
            self._blocked.discard(section_id)
            self._deferrals.pop(section_id, None)

    def heads(self, section_id: int) -> list[RecordKey]:
        """The records of those who stand first for the free seats of a section."""
        section = self._sections[section_id]
        semester_id = self._facts[section_id].term.semester_id
        heads: list[RecordKey] = []
        for waiting in section.waitlist.eligible():
            if len(heads) >= min(section.free, self._heads_max):
                break
            heads.append(RecordKey(waiting.student_id, semester_id))
        return heads

    def must_wait(self, section_id: int) -> bool:
        """Whether the section's heads were skipped so often that their locks are to be waited for."""
        return self._deferrals[section_id] >= self._deferrals_max

    def count_skipped(self, section_ids: Iterable[int], locked: Mapping[RecordKey, object]) -> None:
        """Remember which first heads were locked elsewhere in this turn."""
        for section_id in section_ids:
            heads = self.heads(section_id)
            skipped = bool(heads) and heads[0] not in locked
            self._deferrals[section_id] = self._deferrals[section_id] + 1 if skipped else 0

    def skip_again(self) -> None:
        """A lock was waited for in vain: skip for some turns before waiting again."""
        self._deferrals.clear()

    async def unblock(self, deciding: set[int]) -> None:
        """Forget refusals that are out of date: the waiting student's record changed since.

        Done before each turn for the sections that it decides about, so that nobody passes a head that became eligible;
        from time to time also for those in which a seat is free that nobody could have.
        """
        # Where nobody waits there is nothing to look at: that is nearly everywhere, before every turn.
        section_ids = {section_id for section_id in deciding if self._sections[section_id].waitlist}
        now = self._clock.monotonic()
        if now >= self._recheck_at:
            self._recheck_at = now + self._recheck_interval_s
            section_ids |= self._blocked
        blocked = {
            section_id: waiting
            for section_id in section_ids
            if (waiting := list(self._sections[section_id].waitlist.blocked()))
        }
        await self._facts.load(blocked)
        keys = {
            (section_id, one.student_id): RecordKey(one.student_id, self._facts[section_id].term.semester_id)
            for section_id, waiting in blocked.items()
            for one in waiting
        }
        versions = await self._store.record_versions(sorted(set(keys.values()))) if keys else {}
        for section_id, waiting in blocked.items():
            for one in waiting:
                if versions.get(keys[section_id, one.student_id]) != one.blocked_at:
                    self._sections[section_id].waitlist.unblock(one.student_id)
        for section_id in section_ids:
            self.note(section_id)
