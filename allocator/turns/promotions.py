"""What a drain loop knows of its waitlists between turns: where a seat can be offered, and to whom it could not be."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping

from allocator.model.record import RecordKey
from allocator.model.section import Section
from allocator.model.waitlist import Waiting
from allocator.ports import Clock, Store
from allocator.turns.facts_cache import FactsCache


class Promotions:
    """Seats to offer. Level-triggered: it follows from the state of sections and records, not from events.

    It only reads sections. That a refusal is out of date, since the student's record changed, is kept here until a turn
    has tried again and committed what came of it.

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
        self._soon: set[int] = set()
        self._outdated: dict[int, dict[int, int]] = {}  # by section and student: the refusal's version of the record
        self._deferrals: Counter[int] = Counter()
        self._recheck_at = 0.0
        self._sections = sections
        self._facts = facts
        self._store = store
        self._clock = clock
        self._heads_max = heads_max
        self._deferrals_max = deferrals_max
        self._recheck_interval_s = recheck_interval_s

    @property
    def has_work(self) -> bool:
        """Whether a turn is due although nobody asks for anything."""
        return bool(self.due or self._soon)

    def note(self, section_id: int) -> None:
        """Look at a section that may have changed."""
        section = self._sections[section_id]
        facts = self._facts.get(section_id)
        self.due.discard(section_id)
        self._blocked.discard(section_id)
        if not section.waitlist:
            self._outdated.pop(section_id, None)
            return
        if facts is not None and section.promotes(facts, self._clock.now()) and self._has_candidate(section_id):
            self.due.add(section_id)
        elif section.free > 0 and section.is_open:
            self._blocked.add(section_id)

    def forget(self, section_ids: Iterable[int]) -> None:
        """These are active no more."""
        for section_id in section_ids:
            self.due.discard(section_id)
            self._blocked.discard(section_id)
            self._soon.discard(section_id)
            self._outdated.pop(section_id, None)
            self._deferrals.pop(section_id, None)

    def recheck(self, section_ids: Iterable[int]) -> None:
        """The record of somebody who waits in these may allow now what it did not: look before the next turn."""
        self._soon.update(section_ids)

    # Who is next

    def heads(self, section_id: int) -> list[RecordKey]:
        """The records of those who stand first for the free seats of a section."""
        section = self._sections[section_id]
        semester_id = self._facts[section_id].term.semester_id
        heads: list[RecordKey] = []
        for waiting in self._candidates(section_id):
            if len(heads) >= min(section.free, self._heads_max):
                break
            heads.append(RecordKey(waiting.student_id, semester_id))
        return heads

    def outdated_refusals(self) -> dict[int, list[int]]:
        """Students whom a turn must not take for blocked any more, by section."""
        found = {}
        for section_id, versions in self._outdated.items():
            waitlist = self._sections[section_id].waitlist
            students = [
                student_id
                for student_id, version in versions.items()
                if (waiting := waitlist.get(student_id)) is not None and waiting.blocked_at == version
            ]
            if students:
                found[section_id] = students
        return found

    def _candidates(self, section_id: int) -> Iterator[Waiting]:
        """Waiting students whom nothing is known to block, in order."""
        waitlist = self._sections[section_id].waitlist
        outdated = self._outdated.get(section_id)
        if outdated is None:
            return waitlist.eligible()
        return (one for one in waitlist if one.blocked_at is None or outdated.get(one.student_id) == one.blocked_at)

    def _has_candidate(self, section_id: int) -> bool:
        return next(self._candidates(section_id), None) is not None

    # Whose record is locked elsewhere

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

    # Whose record has changed

    async def find_outdated(self, deciding: set[int]) -> None:
        """Find refusals that are out of date: the waiting student's record changed since.

        Done before each turn for the sections that it decides about, so that nobody passes a head that became eligible;
        from time to time also for those in which a seat is free that nobody could have.
        """
        # Where nobody waits there is nothing to look at: that is nearly everywhere, before every turn.
        section_ids = {section_id for section_id in deciding if self._sections[section_id].waitlist}
        if self._soon:
            section_ids |= self._soon & self._sections.keys()
            self._soon.clear()
        now = self._clock.monotonic()
        if now >= self._recheck_at:
            self._recheck_at = now + self._recheck_interval_s
            section_ids |= self._blocked
        if section_ids:
            await self._compare_versions(section_ids)
            for section_id in section_ids:
                self.note(section_id)

    async def _compare_versions(self, section_ids: set[int]) -> None:
        refusals = {section_id: waiting for section_id in section_ids if (waiting := list(self._refusals(section_id)))}
        if not refusals:
            return
        await self._facts.load(refusals)
        keys = {
            (section_id, one.student_id): RecordKey(one.student_id, self._facts[section_id].term.semester_id)
            for section_id, waiting in refusals.items()
            for one in waiting
        }
        versions = await self._store.record_versions(sorted(set(keys.values())))
        for section_id, waiting in refusals.items():
            for one in waiting:
                if one.blocked_at is not None and versions.get(keys[section_id, one.student_id]) != one.blocked_at:
                    self._outdated.setdefault(section_id, {})[one.student_id] = one.blocked_at

    def _refusals(self, section_id: int) -> Iterator[Waiting]:
        """Blocked students whose refusal is not known to be out of date: a record's version never comes back."""
        outdated = self._outdated.get(section_id, {})
        return (
            one
            for one in self._sections[section_id].waitlist.blocked()
            if outdated.get(one.student_id) != one.blocked_at
        )
