"""The drain loop: the only thing that changes sections.

One turn takes all that waits, activates the sections it needs, locks the students' records, decides, commits
everything in one transaction, and only then takes the drafts as the truth and answers.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from allocator.model.commands import STUDENT_COMMANDS, Command, Drop
from allocator.model.outcomes import Code, Outcome
from allocator.model.record import RecordKey, RegistrationRecord
from allocator.model.section import Section, SectionState
from allocator.ports import (
    CacheInvalidator,
    Changes,
    Clock,
    CommitUnknownError,
    Lease,
    SeatWrite,
    StaleEpochError,
    Store,
    StoreBusyError,
    StoreError,
    StoreRejectedError,
    StoreUnavailableError,
    Turn,
)
from allocator.turns.decision import Decision, seat_write
from allocator.turns.enrollment_ids import EnrollmentIds
from allocator.turns.facts_cache import FactsCache
from allocator.turns.heat import ActorHeat, Heat
from allocator.turns.inbox import Entry, Inbox
from allocator.turns.promotions import Promotions
from allocator.turns.stats import ServiceStats
from allocator.turns.tombstones import Tombstones

log = logging.getLogger(__name__)

TAKE_PORTION = 100
"""Sections that are activated at a time when many are taken: the commands of others wait no longer than for these."""
PASSIVATED_MAX = 500
"""Idle sections that are let go at a time, for the same reason."""


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
        self, owner: str, store: Store, lease: Lease, cache: CacheInvalidator, clock: Clock, limits: Limits
    ) -> None:
        """Nothing is active yet.

        Args:
            owner: the actor's name, and after a ``|`` its incarnation.
        """
        self.owner = owner
        self.name = owner.partition("|")[0]
        self.stats = ServiceStats()
        self._store = store
        self._lease = lease
        self._cache = cache
        self._clock = clock
        self._limits = limits
        self._inbox = Inbox(limits.inbox_max)
        self._facts = FactsCache(store)
        self._sections: dict[int, Section] = {}
        self._promotions = Promotions(
            self._sections,
            self._facts,
            store,
            clock,
            heads_max=limits.batch_max,
            deferrals_max=limits.deferrals_max,
            recheck_interval_s=limits.recheck_interval_s,
        )
        self._failures = 0
        self._heat = Heat(clock.monotonic())
        self._tombstones = Tombstones()
        self._passivate_at = clock.monotonic() + limits.section_idle_s
        self._ids = EnrollmentIds(store)
        self._turn_lock = asyncio.Lock()
        self._telling: set[asyncio.Task[None]] = set()

    # What others call

    async def submit(self, commands: Sequence[tuple[Command, float]]) -> list[Outcome]:
        """Have commands decided, each within its budget in seconds, and return their outcomes in the same order."""
        now = self._clock.monotonic()
        call = self._inbox.add([(command, now + budget_s) for command, budget_s in commands])
        await call.done
        outcomes = [outcome for outcome in call.outcomes if outcome is not None]
        self.stats.outcomes.update(outcome.code.value for outcome in outcomes)
        return outcomes

    async def release(self, section_ids: Sequence[int] | None = None) -> None:
        """Let sections go, all if None.

        The turn at work is finished first; what waits for them is answered ``MOVED``, or ``UNKNOWN`` if it is in doubt.
        """
        async with self._turn_lock:
            released = set(self._sections) if section_ids is None else set(section_ids)
            self._forget(released)
            await self._finish_telling()
            await self._lease.release(sorted(released))
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
            self._forget(moves)
            await self._finish_telling()
            if await self._lease.release(sorted(moves)):
                self._tombstones.set(moves, self._clock.monotonic())
            for entry in self._inbox.withdraw(moves):
                entry.move(moves[entry.command.section_id])
        return active

    async def take(self, section_ids: Sequence[int]) -> int:
        """Activate sections before anybody asks for them, in portions between which others have their turns.

        Those that a living actor holds are left to it. What the store fails to activate, the first request will.

        Returns:
            how many became active.
        """
        self._tombstones.clear(section_ids)
        taken = 0
        for start in range(0, len(section_ids), TAKE_PORTION):
            async with self._turn_lock:
                missing = sorted(set(section_ids[start : start + TAKE_PORTION]) - self._sections.keys())
                active = len(self._sections)
                try:
                    await self._activate(missing)
                except StoreError as error:
                    log.warning("%d sections are left to their first request: %s", len(section_ids) - start, error)
                    break
                taken += len(self._sections) - active
        return taken

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

    async def run(self) -> None:
        """Drain the inbox until cancelled."""
        while True:
            await self._wait_for_work()
            async with self._turn_lock:
                pause_s = await self.turn()
                await self._passivate()
            if pause_s:
                await asyncio.sleep(pause_s)

    async def _wait_for_work(self) -> None:
        if self._promotions.due or self._inbox.filled.is_set():
            return
        try:
            async with asyncio.timeout(self._limits.recheck_interval_s):
                await self._inbox.filled.wait()
        except TimeoutError:
            pass  # time to look at blocked heads again

    # One turn

    async def turn(self) -> float:
        """Take what waits and carry it through.

        Returns:
            seconds to pause before the next turn: 0 unless the store failed.
        """
        started = self._clock.monotonic()
        entries = self._inbox.take(self._limits.batch_max, started)
        try:
            entries = await self._activate_for(entries)
            await self._promotions.unblock({entry.command.section_id for entry in entries} | self._promotions.due)
            if entries or self._promotions.due:
                await self._decide_and_commit(entries)
        except StaleEpochError as stale:
            self.stats.stale_commits += 1
            log.warning("fenced out of %d sections", len(stale.section_ids))
            self._forget(stale.section_ids)
            self._inbox.put_back(entries)
        except CommitUnknownError as unknown:
            self.stats.unknown_commits += 1
            log.warning("the outcome of a commit is unknown; activating its sections anew: %s", unknown)
            self._forget_turn(entries)
            self._put_back_in_doubt(entries)
        except StoreBusyError:
            self.stats.busy_turns += 1
            self._put_back_in_doubt(entries, doubt=False)
            self._step_aside_again(entries)
        except StoreUnavailableError as error:
            return self._wait_for_store(entries, error)
        except StoreRejectedError as error:
            self.stats.rejected_turns += 1
            log.error("the database refused a turn: %s", error)
            self._isolate(entries)
            return self._pause()
        except Exception:  # the loop must outlive any bug; the turn is undone and its commands are tried one by one
            self.stats.failed_turns += 1
            log.exception("a turn failed")
            self._isolate(entries)
            return self._pause()
        else:
            self._failures = 0
            if entries:
                ended = self._clock.monotonic()
                self.stats.turns += 1
                self.stats.turn_s.observe(ended - started)
                self._heat.worked(started, ended)
        return 0.0

    async def _decide_and_commit(self, entries: list[Entry]) -> None:
        promoting = sorted(self._promotions.due)
        await self._facts.load({entry.command.section_id for entry in entries}.union(promoting))
        ids = await self._ids.reserve(len(entries))
        async with self._store.turn() as turn:
            keys = [self._record_key(entry.command) for entry in entries]
            records = await self._lock(turn, entries, keys, promoting)
            ready, stepped_aside = self._split(entries, keys, records)
            answers = await turn.answers(_keys_to_look_up(ready))
            held = await turn.enrollments(_enrollments_to_look_up(ready))
            decision = Decision(self._sections, self._facts.__getitem__, records, ids, self._clock.now())
            decision.promote(promoting)
            decision.decide(ready, answers, held)
            changes = decision.changes()
            committing = self._clock.monotonic()
            if changes.fences:
                await turn.commit(changes)
                self.stats.commit_s.observe(self._clock.monotonic() - committing)
        try:
            self._accept(decision, changes)
        except Exception as error:  # a bug, but it was committed: the answers must be looked up, not decided again
            log.exception("a committed turn could not be accepted")
            raise CommitUnknownError(str(error)) from error
        self.stats.batch_size.observe(len(entries))
        self._inbox.put_back(decision.deferred)
        self._inbox.put_back(stepped_aside)

    def _accept(self, decision: Decision, changes: Changes) -> None:
        """After COMMIT: the drafts are the truth; caches forget; then, and only then, the answers go out.

        The next turn does not wait for the caches.
        """
        for draft in decision.changed_sections():
            self.stats.count_promotions(draft.events)
            draft.events = []
            self._sections[draft.section_id] = draft
        for section_id in decision.drafts:
            self._promotions.note(section_id)
        self._heat.decided([entry.command.section_id for entry, _ in decision.outcomes])
        again = [entry.command for entry, outcome in decision.outcomes if _says_it_was_done(outcome)]
        if changes.seats or again:
            seats = {counts.section_id: counts for counts in changes.seats}
            students = {record.key.student_id for record in changes.records}
            for command in again:
                if isinstance(command, STUDENT_COMMANDS):
                    students.add(command.student_id)
                    if command.section_id not in seats:
                        seats[command.section_id] = seat_write(self._sections[command.section_id])
            telling = asyncio.create_task(self._tell(decision, list(seats.values()), students))
            self._telling.add(telling)
            telling.add_done_callback(self._telling.discard)
        else:
            _answer(decision)

    async def _tell(self, decision: Decision, seats: Sequence[SeatWrite], students: Collection[int]) -> None:
        try:
            await self._cache.invalidate(seats, students)
        except Exception:  # a bug, but what was decided is true and committed
            log.exception("caches could not be told")
        _answer(decision)

    async def _finish_telling(self) -> None:
        if self._telling:
            await asyncio.wait(self._telling)

    # Loading

    async def _activate_for(self, entries: list[Entry]) -> list[Entry]:
        """Activate the sections that ``entries`` need; those that cannot be are answered. Returns the rest."""
        missing = sorted({e.command.section_id for e in entries} - self._sections.keys())
        if not missing:
            return entries
        elsewhere = self._tombstones.among(missing, self._clock.monotonic())
        elsewhere.update(await self._activate([section_id for section_id in missing if section_id not in elsewhere]))
        ready = []
        for entry in entries:
            section_id = entry.command.section_id
            if section_id in self._sections:
                ready.append(entry)
            elif section_id in elsewhere:
                entry.move(elsewhere[section_id])
            else:
                entry.answer(Outcome(Code.NOT_FOUND, section_id))
        return ready

    async def _activate(self, section_ids: Sequence[int]) -> Mapping[int, str]:
        """Bring sections into memory. Returns the owners of those that are held elsewhere."""
        if not section_ids:
            return {}
        elsewhere = await self._lease.acquire(section_ids)
        mine = [section_id for section_id in section_ids if section_id not in elsewhere]
        states = await self._store.activate(mine, self.owner) if mine else []
        await self._facts.load(state.section_id for state in states)
        for state in states:
            self._sections[state.section_id] = Section(state)
            self._promotions.note(state.section_id)
        self.stats.activations += len(states)
        self._heat.activated([state.section_id for state in states], self._clock.monotonic())
        nowhere = [section_id for section_id in mine if section_id not in self._sections]
        if nowhere:
            await self._lease.release(nowhere)
        return elsewhere

    async def _passivate(self) -> None:
        """Let go of sections that nobody has asked for in a long time, and for which nobody waits."""
        now = self._clock.monotonic()
        if now < self._passivate_at:
            return
        idle_s = self._limits.section_idle_s
        idle = [one for one in self._heat.idle(now, idle_s) if not self._sections[one].waitlist]
        passive = idle[:PASSIVATED_MAX]
        self._passivate_at = now + (0.0 if len(idle) > len(passive) else idle_s / 10)
        if passive:
            self.stats.passivations += len(passive)
            self._forget(passive)
            await self._lease.release(passive)

    async def _lock(
        self, turn: Turn, entries: list[Entry], keys: list[RecordKey | None], promoting: list[int]
    ) -> dict[RecordKey, RegistrationRecord]:
        """Lock the records of the commands' students and of the waitlist heads; load the facts that they refer to."""
        wait: set[RecordKey] = set()
        skip: set[RecordKey] = set()
        for entry, key in zip(entries, keys, strict=True):
            if key is not None:
                (wait if entry.deferrals >= self._limits.deferrals_max else skip).add(key)
        for section_id in promoting:
            must_wait = self._promotions.must_wait(section_id)
            (wait if must_wait else skip).update(self._promotions.heads(section_id))
        locked = await turn.lock_records(sorted(wait), sorted(skip - wait))
        self._facts.see_version(locked.catalogue_version)
        needed = {entry.command.section_id for entry in entries}.union(promoting)
        for record in locked.records.values():
            needed.update(record.enrolled)
        await self._facts.load(needed)
        self._promotions.count_skipped(promoting, locked.records)
        return locked.records

    def _split(
        self, entries: list[Entry], keys: list[RecordKey | None], records: dict[RecordKey, RegistrationRecord]
    ) -> tuple[list[Entry], list[Entry]]:
        """Entries that can be decided, and those whose student is locked elsewhere."""
        ready: list[Entry] = []
        aside: list[Entry] = []
        for entry, key in zip(entries, keys, strict=True):
            waited = entry.deferrals >= self._limits.deferrals_max
            if key is None or key in records or waited:
                ready.append(entry)
            else:
                entry.deferrals += 1
                self.stats.deferrals += 1
                aside.append(entry)
        return ready, aside

    def _record_key(self, command: Command) -> RecordKey | None:
        if isinstance(command, STUDENT_COMMANDS):
            return RecordKey(command.student_id, self._facts[command.section_id].term.semester_id)
        return None

    # Failing

    def _forget(self, section_ids: Collection[int]) -> None:
        """Drop sections from memory: the next command for them activates them anew from Postgres."""
        for section_id in section_ids:
            self._sections.pop(section_id, None)
        self._promotions.forget(section_ids)
        self._heat.forget(section_ids)

    def _forget_turn(self, entries: list[Entry]) -> None:
        self._forget({entry.command.section_id for entry in entries} | self._promotions.due)

    def _put_back_in_doubt(self, entries: list[Entry], *, doubt: bool = True) -> None:
        """Put commands back, to be looked up by their keys before they are decided again.

        What has no key cannot be looked up: whether to ask for it again is for its sender to say.
        """
        again = []
        for entry in entries:
            entry.in_doubt = entry.in_doubt or doubt
            if isinstance(entry.command, STUDENT_COMMANDS):
                entry.command = entry.command._replace(maybe_tried=True)
            elif entry.in_doubt:
                entry.give_up()
                continue
            again.append(entry)
        self._inbox.put_back(again)

    def _step_aside_again(self, entries: list[Entry]) -> None:
        """Whoever waited for a lock in vain lets the others pass for some turns before waiting again."""
        for entry in entries:
            entry.deferrals = 0
        self._promotions.skip_again()

    def _isolate(self, entries: list[Entry]) -> None:
        """A turn that cannot be: its commands are tried one by one, and the one that fails alone is given up."""
        self._forget_turn(entries)
        if len(entries) == 1 and entries[0].alone:
            entries[0].give_up()
            return
        for entry in entries:
            entry.alone = True
        self._inbox.put_back(entries)

    def _wait_for_store(self, entries: list[Entry], error: Exception) -> float:
        if self._failures == 0:
            log.warning("the store is away: %s", error)
        self._inbox.put_back(entries)
        self._inbox.expire(self._clock.monotonic())
        return self._pause()

    def _pause(self) -> float:
        self._failures = min(self._failures + 1, 10)
        return min(0.01 * 2.0**self._failures, self._limits.backoff_max_s)


def _answer(decision: Decision) -> None:
    for entry, outcome in decision.outcomes:
        entry.answer(outcome)


def _says_it_was_done(outcome: Outcome) -> bool:
    """Whether it acknowledges what an earlier turn may have done, of which caches may not have heard yet, or ever."""
    return outcome.replayed or outcome.code is Code.DROPPED


def _keys_to_look_up(entries: list[Entry]) -> list[tuple[int, str]]:
    return [
        (command.student_id, command.key)
        for command in (entry.command for entry in entries)
        if isinstance(command, STUDENT_COMMANDS) and (command.keep_answer or command.maybe_tried)
    ]


def _enrollments_to_look_up(entries: list[Entry]) -> list[int]:
    return [entry.command.enrollment_id for entry in entries if isinstance(entry.command, Drop)]
