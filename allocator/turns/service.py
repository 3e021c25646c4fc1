"""The drain loop: the only thing that changes sections.

One turn takes all that waits, activates the sections it needs, locks the students' records, decides, commits
everything in one transaction, and only then takes the drafts as the truth and answers. Each step has a room of its own:
``residence`` (which sections are here), ``promotions`` (whose turn it is), ``turn`` (load, lock, decide, commit),
``setbacks`` (what follows from a failure), ``announcing`` (tell, then answer).
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from allocator.model.delivery import Envelope, Reply
from allocator.model.section import Section, SectionState
from allocator.ports import Announcer, Clock, CommitUnknownError, Lease, Store, StoreError
from allocator.rules.table import Judge
from allocator.turns.announcing import Announcing
from allocator.turns.facts_cache import FactsCache
from allocator.turns.heat import ActorHeat, Heat
from allocator.turns.inbox import Entry, Inbox, sections_of
from allocator.turns.promotions import Promotions
from allocator.turns.residence import Residence
from allocator.turns.setbacks import Setbacks
from allocator.turns.stats import ServiceStats
from allocator.turns.turn import CommittedTurn, TurnRunner

log = logging.getLogger(__name__)

TAKE_PORTION = 100
"""Sections that are activated at a time when many are taken: the commands of others wait no longer than for these."""


@dataclass(frozen=True, slots=True)
class Limits:
    """How much a drain loop takes on.

    Args:
        batch_max: commands in one turn.
        inbox_max: commands that may wait; those beyond are answered ``OVERLOADED`` at once.
        deferrals_max: turns in which a command steps aside because its student is locked elsewhere, before it waits
            for the lock.
        recheck_interval_s: how often blocked waitlist heads are looked at again.
        backoff_max_s: longest pause between two tries while the store is away.
        section_idle_s: sections without a command for so long leave memory, unless somebody waits for a seat.
    """

    batch_max: int = 512
    inbox_max: int = 8192
    deferrals_max: int = 3
    recheck_interval_s: float = 2.0
    backoff_max_s: float = 0.5
    section_idle_s: float = 900.0


class SectionService:
    """Holds the active sections of one actor and decides every command for them."""

    def __init__(
        self, owner: str, store: Store, lease: Lease, announcer: Announcer, clock: Clock, limits: Limits
    ) -> None:
        """Nothing is active yet.

        Args:
            owner: the actor's name, and after a ``|`` its incarnation.
        """
        self.owner = owner
        self.name = owner.partition("|")[0]
        self.stats = stats = ServiceStats()
        self._clock = clock
        self._limits = limits
        self._inbox = Inbox(limits.inbox_max)
        self._sections: dict[int, Section] = {}
        self._heat = Heat(clock.monotonic())
        facts = FactsCache(store)
        self._promotions = promotions = Promotions(
            self._sections,
            facts,
            store,
            clock,
            heads_max=limits.batch_max,
            deferrals_max=limits.deferrals_max,
            recheck_interval_s=limits.recheck_interval_s,
        )
        self._residence = Residence(
            owner, self._sections, store, lease, facts, promotions, self._heat, stats, clock,
            section_idle_s=limits.section_idle_s,
        )  # fmt: skip
        self._turns = TurnRunner(
            self._sections, store, facts, promotions, stats, clock, Judge(), deferrals_max=limits.deferrals_max
        )
        self._setbacks = Setbacks(
            self._inbox, self._residence, promotions, stats, clock, backoff_max_s=limits.backoff_max_s
        )
        self._announcing = Announcing(announcer, self._sections)
        self._turn_lock = asyncio.Lock()

    # Commands

    async def submit(self, envelopes: Sequence[tuple[Envelope, float]]) -> list[Reply]:
        """Have commands decided, each within its budget in seconds, and return the replies in the same order."""
        now = self._clock.monotonic()
        call = self._inbox.add([(envelope, now + budget_s) for envelope, budget_s in envelopes])
        await call.done
        replies = [reply for reply in call.replies if reply is not None]
        self.stats.outcomes.update(reply.code.value for reply in replies)
        return replies

    # Which sections are here

    async def release(self, section_ids: Sequence[int] | None = None) -> None:
        """Let sections go, all if None.

        The turn at work is finished first; what waits for them is answered ``MOVED``, or ``UNKNOWN`` if it is in doubt.
        """
        async with self._turn_lock:
            released = set(self._sections) if section_ids is None else set(section_ids)
            self._residence.forget(released)
            await self._announcing.finish()
            await self._residence.release(released)
            waiting = self._inbox.withdraw_all() if section_ids is None else self._inbox.withdraw(released)
            for entry in waiting:
                entry.move()

    async def hand_over(self, moves: Mapping[int, str]) -> int:
        """Let sections go to new owners, and for a short time tell who asks for them where they went.

        The turn at work is finished first; what waits for them is sent on, after the lease is free for the new owner.
        If it cannot be freed now, the new owner will send requests back, and they are served here until it is.

        Args:
            moves: names of the new owners by section id.

        Returns:
            how many of the sections were active.
        """
        moves = {section_id: owner for section_id, owner in moves.items() if owner != self.name}
        async with self._turn_lock:
            active = len(self._sections.keys() & moves.keys())
            self.stats.handed_over += active
            self._residence.forget(moves)
            await self._announcing.finish()
            await self._residence.release_to(moves)
            for entry in self._inbox.withdraw(moves):
                entry.move(next(moves[one] for one in entry.needs.section_ids if one in moves))
        return active

    async def take(self, section_ids: Sequence[int]) -> int:
        """Activate sections before anybody asks for them, in portions between which others have their turns.

        Those that a living actor holds are left to it. What the store fails to activate, the first request will.

        Returns:
            how many became active.
        """
        self._residence.want(section_ids)
        taken = 0
        for start in range(0, len(section_ids), TAKE_PORTION):
            async with self._turn_lock:
                try:
                    taken += await self._residence.take(section_ids[start : start + TAKE_PORTION])
                except StoreError as error:
                    log.warning("%d sections are left to their first request: %s", len(section_ids) - start, error)
                    break
        return taken

    # What others ask

    def active_sections(self) -> list[int]:
        """Ids of the sections in memory."""
        return list(self._sections)

    def heat(self, top: int) -> ActorHeat:
        """What there is to do, and the ``top`` sections that ask for most of it."""
        return self._heat.read(self._clock.monotonic(), top, self.waiting)

    def snapshot(self) -> list[SectionState]:
        """The active sections as they are in memory."""
        return [section.state() for section in self._sections.values()]

    @property
    def waiting(self) -> int:
        """Commands in the inbox."""
        return len(self._inbox)

    # The loop

    async def run(self) -> None:
        """Drain the inbox until cancelled."""
        while True:
            await self._wait_for_work()
            async with self._turn_lock:
                pause_s = await self.turn()
                await self._residence.passivate()
            if pause_s:
                await asyncio.sleep(pause_s)

    async def _wait_for_work(self) -> None:
        if self._promotions.has_work or self._inbox.filled.is_set():
            return
        try:
            async with asyncio.timeout(self._limits.recheck_interval_s):
                await self._inbox.filled.wait()
        except TimeoutError:
            pass  # time to look at blocked heads again

    async def turn(self) -> float:
        """Take what waits and carry it through.

        Returns:
            seconds to pause before the next turn: 0 unless the store failed.
        """
        started = self._clock.monotonic()
        entries = self._inbox.take(self._limits.batch_max, started)
        try:
            entries = await self._residence.admit(entries)
            await self._promotions.find_outdated(sections_of(entries) | self._promotions.due)
            if entries or self._promotions.due:
                self._accept(await self._turns.carry_out(entries), entries)
        except Exception as failure:  # noqa: BLE001  (whatever it is, setbacks.py has a row for it)
            return self._setbacks.handle(failure, entries)
        self._setbacks.reset()
        if entries:
            ended = self._clock.monotonic()
            self.stats.turns += 1
            self.stats.turn_s.observe(ended - started)
            self._heat.worked(started, ended)
        return 0.0

    def _accept(self, turn: CommittedTurn, entries: list[Entry]) -> None:
        """After COMMIT: the drafts are the truth, and what follows from them begins."""
        decision = turn.decision
        try:
            for draft in decision.changed_sections():
                self.stats.count_promotions(draft.events)
            self._residence.accept(decision.changed_sections())
            for section_id in decision.drafts:
                self._promotions.note(section_id)
            self._promotions.recheck(decision.recheck_here)
            self._heat.decided(one for done in decision.decided for one in done.entry.needs.section_ids)
            self._announcing.tell(turn)
        except Exception as error:  # a bug, but it was committed: the answers must be looked up, not decided again
            log.exception("a committed turn could not be accepted")
            raise CommitUnknownError(str(error)) from error
        self.stats.batch_size.observe(len(entries))
        self._inbox.put_back(decision.deferred)
        self._inbox.put_back(turn.stepped_aside)
