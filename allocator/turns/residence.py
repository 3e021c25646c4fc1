"""Which sections live in this actor: how they come, how they stay, how they go."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence

from allocator.model.delivery import Reply
from allocator.model.outcomes import Code, Outcome
from allocator.model.section import Section
from allocator.ports import Clock, Lease, Store
from allocator.turns.facts_cache import FactsCache
from allocator.turns.forwarding import Forwarding
from allocator.turns.heat import Heat
from allocator.turns.inbox import Entry
from allocator.turns.promotions import Promotions
from allocator.turns.stats import ServiceStats

PASSIVATED_MAX = 500
"""Idle sections that are let go at a time: the commands of others wait no longer than for these."""


class Residence:
    """Activates sections and lets go of them. Call it between turns only.

    Args:
        owner: the actor's name, and after a ``|`` its incarnation.
        sections: filled and emptied here; what a turn commits replaces them.
        section_idle_s: sections without a command for so long leave memory, unless somebody waits for a seat.
    """

    def __init__(
        self,
        owner: str,
        sections: dict[int, Section],
        store: Store,
        lease: Lease,
        facts: FactsCache,
        promotions: Promotions,
        heat: Heat,
        stats: ServiceStats,
        clock: Clock,
        *,
        section_idle_s: float,
    ) -> None:
        self._owner = owner
        self._sections = sections
        self._store = store
        self._lease = lease
        self._facts = facts
        self._promotions = promotions
        self._heat = heat
        self._stats = stats
        self._clock = clock
        self._section_idle_s = section_idle_s
        self._forwarding = Forwarding()
        self._passivate_at = clock.monotonic() + section_idle_s

    # Coming

    async def admit(self, entries: list[Entry]) -> list[Entry]:
        """Activate the sections that ``entries`` need; those that cannot be are answered. Returns the rest."""
        missing = {one for entry in entries for one in entry.needs.section_ids if one not in self._sections}
        if not missing:
            return entries
        elsewhere = self._forwarding.among(sorted(missing), self._clock.monotonic())
        elsewhere.update(await self.activate([one for one in sorted(missing) if one not in elsewhere]))
        return [entry for entry in entries if self._is_here(entry, elsewhere)]

    def _is_here(self, entry: Entry, elsewhere: Mapping[int, str]) -> bool:
        for section_id in entry.needs.section_ids:
            if section_id in self._sections:
                continue
            if section_id in elsewhere:
                entry.move(elsewhere[section_id])
            else:
                entry.answer(Reply(Outcome(Code.NOT_FOUND, section_id)))
            return False
        return True

    async def activate(self, section_ids: Sequence[int]) -> Mapping[int, str]:
        """Bring sections into memory. Returns the owners of those that are held elsewhere."""
        if not section_ids:
            return {}
        elsewhere = await self._lease.acquire(section_ids)
        mine = [section_id for section_id in section_ids if section_id not in elsewhere]
        states = await self._store.activate(mine, self._owner) if mine else []
        await self._facts.load(state.section_id for state in states)
        for state in states:
            self._sections[state.section_id] = Section(state)
            self._promotions.note(state.section_id)
        self._stats.activations += len(states)
        self._heat.activated([state.section_id for state in states], self._clock.monotonic())
        nowhere = [section_id for section_id in mine if section_id not in self._sections]
        if nowhere:
            await self._lease.release(nowhere)
        return elsewhere

    async def take(self, section_ids: Iterable[int]) -> int:
        """Activate sections before anybody asks for them. Those that a living actor holds are left to it.

        Returns:
            how many became active.

        Raises:
            StoreError: if the store fails to.
        """
        before = len(self._sections)
        await self.activate(sorted(set(section_ids) - self._sections.keys()))
        return len(self._sections) - before

    def want(self, section_ids: Iterable[int]) -> None:
        """These were handed over once and are wanted here again."""
        self._forwarding.clear(section_ids)

    # Staying

    def accept(self, drafts: Iterable[Section]) -> None:
        """The events of these drafts are committed: from now on they are the sections."""
        for draft in drafts:
            draft.events = []
            draft.waitlist.forget_unblocked()
            self._sections[draft.section_id] = draft

    # Going

    def forget(self, section_ids: Collection[int]) -> None:
        """Drop sections from memory: the next command for them activates them anew from Postgres."""
        for section_id in section_ids:
            self._sections.pop(section_id, None)
        self._promotions.forget(section_ids)
        self._heat.forget(section_ids)

    async def release(self, section_ids: Collection[int]) -> bool:
        """Give the leases of sections back, after ``forget``. Returns whether others may take them from now on."""
        return await self._lease.release(sorted(section_ids))

    async def release_to(self, moves: Mapping[int, str]) -> None:
        """The same, and remember for a short time who has them now, if their leases could be given back."""
        if await self.release(moves.keys()):
            self._forwarding.set(moves, self._clock.monotonic())

    async def passivate(self) -> None:
        """Let go of sections that nobody has asked for in a long time, and for which nobody waits."""
        now = self._clock.monotonic()
        if now < self._passivate_at:
            return
        idle_s = self._section_idle_s
        idle = [one for one in self._heat.idle(now, idle_s) if not self._sections[one].waitlist]
        passive = idle[:PASSIVATED_MAX]
        self._passivate_at = now + (0.0 if len(idle) > len(passive) else idle_s / 10)
        if passive:
            self._stats.passivations += len(passive)
            self.forget(passive)
            await self.release(passive)
