"""The drain loop: the only thing that changes sections.

One turn takes all that waits, activates the sections it needs, locks the students' records, decides, commits
everything in one transaction, and only then takes the drafts as the truth and answers.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from dataclasses import dataclass

from allocator.commands import Command, Drop, Enroll
from allocator.decision import Decision
from allocator.facts import FactsCache
from allocator.ids import EnrollmentIds
from allocator.inbox import Entry, Inbox
from allocator.outcomes import Code, Outcome
from allocator.ports import (
    CacheInvalidator,
    Changes,
    Clock,
    CommitUnknownError,
    Lease,
    StaleEpochError,
    Store,
    StoreBusyError,
    StoreRejectedError,
    StoreUnavailableError,
    Turn,
)
from allocator.promotions import Promotions
from allocator.records import RecordKey, RegistrationRecord
from allocator.section import Section, SectionState
from allocator.stats import ServiceStats

log = logging.getLogger(__name__)


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
    """

    batch_max: int = 512
    inbox_max: int = 8192
    deferrals_max: int = 3
    recheck_interval_s: float = 2.0
    backoff_max_s: float = 0.5


class SectionService:
    """Holds the active sections of one actor and decides every command for them."""

    def __init__(
        self, owner: str, store: Store, lease: Lease, cache: CacheInvalidator, clock: Clock, limits: Limits
    ) -> None:
        self.owner = owner
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
            for entry in self._inbox.withdraw(released):
                entry.move()
            if self._telling:
                await asyncio.wait(self._telling)
            await self._lease.release(sorted(released))

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
                self.stats.turns += 1
                self.stats.turn_s.observe(self._clock.monotonic() - started)
        return 0.0

    async def _decide_and_commit(self, entries: list[Entry]) -> None:
        promoting = sorted(self._promotions.due)
        await self._facts.load({entry.command.section_id for entry in entries}.union(promoting))
        ids = await self._ids.reserve(len(entries))
        async with self._store.turn() as turn:
            records = await self._lock(turn, entries, promoting)
            ready, stepped_aside = self._split(entries, records)
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
        if changes.seats:
            telling = asyncio.create_task(self._tell(decision, changes))
            self._telling.add(telling)
            telling.add_done_callback(self._telling.discard)
        else:
            _answer(decision)

    async def _tell(self, decision: Decision, changes: Changes) -> None:
        try:
            await self._cache.invalidate(changes.seats, [record.key.student_id for record in changes.records])
        except Exception:  # a bug, but what was decided is true and committed
            log.exception("caches could not be told")
        _answer(decision)

    # Loading

    async def _activate_for(self, entries: list[Entry]) -> list[Entry]:
        """Activate the sections that ``entries`` need; those that cannot be are answered. Returns the rest."""
        missing = sorted({e.command.section_id for e in entries} - self._sections.keys())
        if not missing:
            return entries
        elsewhere = await self._lease.acquire(missing)
        mine = [section_id for section_id in missing if section_id not in elsewhere]
        states = await self._store.activate(mine, self.owner) if mine else []
        await self._facts.load(state.section_id for state in states)
        for state in states:
            self._sections[state.section_id] = Section(state)
            self._promotions.note(state.section_id)
        self.stats.activations += len(states)
        nowhere = [section_id for section_id in mine if section_id not in self._sections]
        if nowhere:
            await self._lease.release(nowhere)
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

    async def _lock(
        self, turn: Turn, entries: list[Entry], promoting: list[int]
    ) -> dict[RecordKey, RegistrationRecord]:
        """Lock the records of the commands' students and of the waitlist heads; load the facts that they refer to."""
        wait: set[RecordKey] = set()
        skip: set[RecordKey] = set()
        for entry in entries:
            key = self._record_key(entry)
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
        self, entries: list[Entry], records: dict[RecordKey, RegistrationRecord]
    ) -> tuple[list[Entry], list[Entry]]:
        """Entries that can be decided, and those whose student is locked elsewhere."""
        ready: list[Entry] = []
        aside: list[Entry] = []
        for entry in entries:
            key = self._record_key(entry)
            waited = entry.deferrals >= self._limits.deferrals_max
            if key is None or key in records or waited:
                ready.append(entry)
            else:
                entry.deferrals += 1
                self.stats.deferrals += 1
                aside.append(entry)
        return ready, aside

    def _record_key(self, entry: Entry) -> RecordKey | None:
        command = entry.command
        if isinstance(command, Enroll | Drop):
            return RecordKey(command.student_id, self._facts[command.section_id].term.semester_id)
        return None

    # Failing

    def _forget(self, section_ids: set[int] | frozenset[int]) -> None:
        """Drop sections from memory: the next command for them activates them anew from Postgres."""
        for section_id in section_ids:
            self._sections.pop(section_id, None)
        self._promotions.forget(section_ids)

    def _forget_turn(self, entries: list[Entry]) -> None:
        self._forget({entry.command.section_id for entry in entries} | self._promotions.due)

    def _put_back_in_doubt(self, entries: list[Entry], *, doubt: bool = True) -> None:
        """Put commands back, to be looked up by their keys before they are decided again.

        What has no key cannot be looked up: whether to ask for it again is for its sender to say.
        """
        again = []
        for entry in entries:
            entry.in_doubt = entry.in_doubt or doubt
            if isinstance(entry.command, Enroll | Drop):
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


def _keys_to_look_up(entries: list[Entry]) -> list[tuple[int, str]]:
    return [
        (command.student_id, command.key)
        for command in (entry.command for entry in entries)
        if isinstance(command, Enroll | Drop) and (command.keep_answer or command.maybe_tried)
    ]


def _enrollments_to_look_up(entries: list[Entry]) -> list[int]:
    return [entry.command.enrollment_id for entry in entries if isinstance(entry.command, Drop)]
